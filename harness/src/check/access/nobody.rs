//! A role without a grant: what it can do, PUBLIC can do.

use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::Evidence;
use crate::ident::quote_ident;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::BTreeMap;

/// A role that exists within one transaction only, and so for nobody else. It may use the schemas that some service may
/// use, and call what policies call, without which they refuse everybody; it has no other grant.
pub(super) struct Nobody {
    pub(super) name: String,
    /// The schemas that PUBLIC may not use, each with somebody who may.
    admitted: BTreeMap<String, String>,
    /// The functions that PUBLIC may not call and the policies of a table do, each with the table.
    asked: Vec<(String, String)>,
}

/// The schemas that PUBLIC may not use, and who logs in and may, though the schema is not theirs.
const CLOSED: &str = "
    select n.nspname::text, min(r.rolname)::text
    from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on has_schema_privilege(r.oid, n.oid, 'usage')
    where n.oid >= 16384 and n.nspname !~ '^pg_' and r.rolcanlogin and not r.rolsuper
        and not pg_has_role(r.oid, n.nspowner, 'member') and not has_schema_privilege('public', n.oid, 'usage')
    group by 1";

/// Functions that policies call, PUBLIC may not, and some service may.
const ASKED: &str = "
    select distinct format('%s.%s', n.nspname, c.relname), p.oid::regprocedure::text
    from pg_catalog.pg_depend d join pg_catalog.pg_policy y on y.oid = d.objid
    join pg_catalog.pg_class c on c.oid = y.polrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_proc p on p.oid = d.refobjid
    where d.classid = 'pg_catalog.pg_policy'::regclass and d.refclassid = 'pg_catalog.pg_proc'::regclass
        and p.oid >= 16384 and not has_function_privilege('public', p.oid, 'execute')
        and exists (select from pg_catalog.pg_roles r
            where r.rolcanlogin and not r.rolsuper and has_function_privilege(r.oid, p.oid, 'execute'))
    order by 1, 2";

impl Nobody {
    /// Begins a transaction of `control`, a superuser's, and creates the role in it.
    ///
    /// # Errors
    /// The server is lost, or it refuses.
    pub(super) async fn create(control: &mut PgConnection, db: &TestDb) -> Result<Nobody> {
        // Two transactions that create a role of one name would wait for each other.
        let tail: String = db.name().chars().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect();
        let failed = || "failed to create a role without a grant".to_owned();
        let admitted: Vec<(String, String)> =
            sqlx::query_as(CLOSED).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?;
        let asked: Vec<(String, String)> =
            sqlx::query_as(ASKED).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?;
        let name = format!("pgharness_nobody_{tail}");
        let nobody = Nobody { name, admitted: admitted.into_iter().collect(), asked };
        let name = quote_ident(&nobody.name);
        let mut opening = vec!["begin".to_owned(), format!("create role {name}")];
        opening.extend(nobody.admitted.keys().map(|schema| admission(schema, &name)));
        opening.extend(nobody.asked.iter().map(|(_, function)| permission(function, &name)));
        sqlx::raw_sql(AssertSqlSafe(opening.join("; ")))
            .execute(control)
            .await
            .attempt(ErrorKind::Database, failed)?;
        Ok(nobody)
    }

    /// Whether it may use `schema` by a grant only.
    pub(super) fn is_admitted(&self, schema: &str) -> bool {
        self.admitted.contains_key(schema)
    }

    /// Whether it may call a function that PUBLIC may not.
    pub(super) fn is_permitted(&self, function: &str) -> bool {
        self.asked.iter().any(|(_, asked)| asked == function)
    }

    /// The steps of a transaction in which it exists, and of which nothing stays: what makes it, for `object`, which is in
    /// `schema`, what others do `before`, and `sql`, which is its own.
    pub(super) fn transcript(
        &self,
        (admin, schema, object): (&str, &str, &str),
        before: Vec<Evidence>,
        sql: &[&str],
        result: String,
    ) -> Vec<Evidence> {
        let mut steps = vec![
            Evidence::as_role(admin, "begin", ""),
            Evidence::as_role(admin, "create role nobody", "a role without a grant"),
        ];
        steps.extend(self.admitted.get(schema).map(|role| {
            Evidence::as_role(admin, admission(schema, "nobody"), format!("as `{role}` has it"))
        }));
        steps.extend(self.asked.iter().filter(|(table, _)| table == object).map(|(_, function)| {
            Evidence::as_role(
                admin,
                permission(function, "nobody"),
                "as those have it whom its policy lets through",
            )
        }));
        steps.extend(before);
        steps.extend(sql.iter().map(|sql| Evidence::as_role("nobody", *sql, "")));
        if let Some(last) = steps.last_mut() {
            last.result = result;
        }
        steps.push(Evidence::as_role("nobody", "rollback", ""));
        steps
    }

    /// What the session is from here on, until it is reset.
    pub(super) fn authorization(&self) -> String {
        format!("set local session authorization {}", quote_ident(&self.name))
    }

    /// Ends the transaction, and the role.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn vanish(&self, control: &mut PgConnection) -> Result<()> {
        control.execute("rollback").await?;
        Ok(())
    }
}

fn admission(schema: &str, role: &str) -> String {
    format!("grant usage on schema {} to {role}", quote_ident(schema))
}

fn permission(function: &str, role: &str) -> String {
    format!("grant execute on function {function} to {role}")
}
