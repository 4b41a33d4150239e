//! What default privileges say, and who creates what they could be of.

use super::next_object::NextObject;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{PgConnection, Row};

/// Default privileges, and who creates what they could be of.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) creators: Vec<Creator>,
    declared: Vec<Declared>,
    /// The roles that took EXECUTE from PUBLIC, which has it otherwise.
    takers: Vec<String>,
}

/// Who creates objects of a kind.
#[derive(Clone, Debug)]
pub(super) struct Creator {
    pub(super) object: NextObject,
    /// Where; a schema is in none.
    pub(super) schema: Option<String>,
    pub(super) role: String,
    /// What is there is the table of the migrations' history.
    is_of_history: bool,
}

/// What default privileges give: whose they are, of which objects, where, to whom.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    object: NextObject,
    pub(super) of: String,
    /// `None`: everywhere.
    pub(super) schema: Option<String>,
    /// `None`: PUBLIC.
    pub(super) grantee: Option<String>,
    /// Those that are tried.
    pub(super) privileges: Vec<String>,
}

/// Who owns objects of which kind in which schema, and their names. A table may bring a sequence.
const CREATORS: &str = "
    with created (kind, class, object, namespace, owner, name) as (
        select k.kind, c.tableoid, c.oid, c.relnamespace, c.relowner, c.relname
        from pg_catalog.pg_class c cross join (values ('r'), ('S')) as k (kind) where c.relkind in ('r', 'p')
        union all
        select 'S', c.tableoid, c.oid, c.relnamespace, c.relowner, c.relname
        from pg_catalog.pg_class c where c.relkind = 'S' and not exists (select from pg_catalog.pg_depend d
            where d.classid = c.tableoid and d.objid = c.oid and d.deptype in ('a', 'i') and d.refobjsubid > 0)
        union all
        select 'f', p.tableoid, p.oid, p.pronamespace, p.proowner, p.proname from pg_catalog.pg_proc p
        union all
        select 'n', n.tableoid, n.oid, n.oid, n.nspowner, n.nspname from pg_catalog.pg_namespace n
    )
    select c.kind, case when c.kind <> 'n' then n.nspname::text end, o.rolname::text, array_agg(c.name::text)
    from created c join pg_catalog.pg_namespace n on n.oid = c.namespace join pg_catalog.pg_roles o on o.oid = c.owner
    where c.object >= 16384 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (select from pg_catalog.pg_depend d
            where d.classid = c.class and d.objid = c.object and d.deptype = 'e')
    group by 1, 2, 3";

const DECLARED: &str = "
    select d.defaclobjtype::text as code, o.rolname::text as whose, n.nspname::text as schema,
        g.rolname::text as grantee, array_agg(lower(a.privilege_type)::text order by a.privilege_type) as privileges
    from pg_catalog.pg_default_acl d
    join pg_catalog.pg_roles o on o.oid = d.defaclrole
    left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
    cross join lateral pg_catalog.aclexplode(d.defaclacl) a
    left join pg_catalog.pg_roles g on g.oid = a.grantee
    where a.grantee <> d.defaclrole
    group by 1, 2, 3, 4 order by 1, 2, 3, 4";

const TAKERS: &str = "
    select o.rolname::text
    from pg_catalog.pg_default_acl d join pg_catalog.pg_roles o on o.oid = d.defaclrole
    where d.defaclobjtype = 'f' and d.defaclnamespace = 0
        and not exists (select from pg_catalog.aclexplode(d.defaclacl) a where a.grantee = 0)
    order by 1";

impl Defaults {
    /// Reads them.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn read(
        control: &mut PgConnection,
        is_history: impl Fn(&QualifiedName) -> bool,
    ) -> Result<Defaults> {
        let failed = || "failed to read default privileges".to_owned();
        let created: Vec<(String, Option<String>, String, Vec<String>)> =
            sqlx::query_as(CREATORS).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?;
        let mut creators: Vec<Creator> = created
            .into_iter()
            .filter_map(|(code, schema, role, names)| {
                let is_of_history = schema.as_ref().is_some_and(|schema| {
                    names.iter().all(|name| is_history(&QualifiedName::new(schema, name)))
                });
                Some(Creator { object: NextObject::of(&code)?, schema, role, is_of_history })
            })
            .collect();
        // By the bytes of their names, whatever the database's collation is.
        creators.sort_by(|one, other| {
            (one.object, &one.schema, &one.role).cmp(&(other.object, &other.schema, &other.role))
        });
        let mut declared = Vec::new();
        for row in
            sqlx::query(DECLARED).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?
        {
            let Some(object) = NextObject::of(row.try_get("code")?) else { continue };
            let mut privileges: Vec<String> = row.try_get("privileges")?;
            privileges.retain(|privilege| object.privileges().contains(&privilege.as_str()));
            if !privileges.is_empty() {
                let (schema, grantee) = (row.try_get("schema")?, row.try_get("grantee")?);
                declared.push(Declared { object, of: row.try_get("whose")?, schema, grantee, privileges });
            }
        }
        let takers =
            sqlx::query_scalar(TAKERS).fetch_all(control).await.attempt(ErrorKind::Database, failed)?;
        Ok(Defaults { creators, declared, takers })
    }

    /// What is given to roles where `creator` creates, by default privileges that are nobody's who creates such.
    pub(super) fn without_effect(&self, creator: &Creator) -> impl Iterator<Item = (&Declared, &str)> {
        self.declared.iter().filter_map(move |one| {
            let grantee = one.grantee.as_deref().filter(|grantee| *grantee != creator.role)?;
            let is_here =
                one.object == creator.object && (one.schema.is_none() || one.schema == creator.schema);
            let is_idle = one.of != creator.role && !self.is_used(one.object, &one.of, one.schema.as_deref());
            (is_here && is_idle).then_some((one, grantee))
        })
    }

    /// What is given to PUBLIC on what `creator` creates.
    pub(super) fn to_public(&self, creator: &Creator) -> impl Iterator<Item = &Declared> {
        self.declared.iter().filter(move |one| {
            one.grantee.is_none()
                && one.object == creator.object
                && one.of == creator.role
                && (one.schema.is_none() || one.schema == creator.schema)
        })
    }

    /// Whether PUBLIC has its privilege on what `creator` creates from the server, and from nobody else.
    pub(super) fn is_built_in(&self, creator: &Creator) -> bool {
        creator.object == NextObject::Function && !self.takers.contains(&creator.role)
    }

    /// The roles that took EXECUTE from PUBLIC, where none of them creates what PUBLIC could execute.
    pub(super) fn idle_takers(&self) -> &[String] {
        let is_used = self.takers.iter().any(|taker| self.is_used(NextObject::Function, taker, None));
        if is_used { &[] } else { &self.takers }
    }

    /// Whether `role` creates objects that its default privileges hold for: then they are not without effect, and
    /// perhaps meant for those only.
    fn is_used(&self, object: NextObject, role: &str, schema: Option<&str>) -> bool {
        self.creators.iter().any(|creator| {
            // Whoever has tables will have functions.
            let is_such = creator.object == object
                || (object, creator.object) == (NextObject::Function, NextObject::Table);
            is_such
                && creator.role == role
                && match schema {
                    Some(schema) => creator.schema.as_deref() == Some(schema),
                    // A runner makes the history as whoever logs in, also where the files become somebody else.
                    None => !creator.is_of_history,
                }
        })
    }
}

impl Creator {
    /// As the beginning of a sentence.
    pub(super) fn next(&self) -> String {
        let next = format!("the next {} of `{}`", self.object.noun(), self.role);
        match &self.schema {
            Some(schema) => format!("{next} in `{schema}`"),
            None => next,
        }
    }

    /// The statements that create the next one.
    pub(super) fn steps(&self) -> Vec<String> {
        let become_it = format!("set local role {}", quote_ident(&self.role));
        let mut steps = vec![become_it];
        steps.extend(self.object.creation(self.schema.as_deref()));
        steps.push("reset role".into());
        steps
    }

    /// The statement that needs `privilege` on the next one.
    pub(super) fn use_of(&self, privilege: &str) -> String {
        self.object.use_of(self.schema.as_deref(), privilege)
    }

    /// The beginning of a statement about its default privileges in `schema`.
    pub(super) fn altered(&self, schema: Option<&str>) -> String {
        let altered = format!("alter default privileges for role {}", quote_ident(&self.role));
        match schema {
            Some(schema) => format!("{altered} in schema {}", quote_ident(schema)),
            None => altered,
        }
    }
}
