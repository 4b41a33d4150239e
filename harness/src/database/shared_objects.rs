//! The objects that all databases of a server share, and whether a template changes them.

use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::ident::quote_ident;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::BTreeSet;

/// The shared objects of a server at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedObjects {
    roles: BTreeSet<String>,
    digest: Digest,
}

/// One line of text per fact. The superuser's own password is left out: `url_tcp` sets it.
const FACTS: &[&str] = &[
    "select rolname::text from pg_roles",
    "select format('%s %s %s %s %s %s %s %s %s %s', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
            rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil) from pg_roles",
    "select format('%s in %s %s', member::regrole, roleid::regrole, admin_option) from pg_auth_members",
    "select format('%s %s', setrole, setconfig) from pg_db_role_setting where setdatabase = 0",
    "select format('%s %s', parname, paracl) from pg_parameter_acl",
    "select format('%s %s', spcname, spcoptions) from pg_tablespace",
    "select format('%s %s', objoid, description) from pg_shdescription where classoid = 'pg_authid'::regclass",
];

impl SharedObjects {
    /// Reads them.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn read(control: &mut PgConnection) -> Result<SharedObjects> {
        let mut hasher = Hasher::new("shared objects");
        let mut roles = BTreeSet::new();
        for (place, query) in FACTS.iter().enumerate() {
            let mut lines: Vec<String> = sqlx::query_scalar(*query).fetch_all(&mut *control).await?;
            lines.sort_unstable();
            hasher.add(query, lines.join("\n"));
            if place == 0 {
                roles.extend(lines);
            }
        }
        Ok(SharedObjects { roles, digest: hasher.finish() })
    }

    /// Drops the roles that came since `before`. Whether that restores everything, a new reading tells.
    ///
    /// # Errors
    /// A role cannot be dropped: something in another database depends on it.
    pub(crate) async fn drop_roles_since(
        &self,
        before: &SharedObjects,
        control: &mut PgConnection,
    ) -> Result<()> {
        for role in self.roles.difference(&before.roles) {
            control.execute(AssertSqlSafe(format!("drop role if exists {}", quote_ident(role)))).await?;
        }
        Ok(())
    }
}
