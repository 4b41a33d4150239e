//! The project's own ways to say whose a session is: found by calling them.

use super::attack::Attack;
use super::probe::{Refusal, figure};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::quote_literal;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// A function or a procedure that sets the tenant of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setter {
    /// In the server's words.
    pub(super) kind: &'static str,
    /// As people write it: `public.set_tenant(uuid)`.
    pub(super) name: String,
    /// The statement that calls it for the tenant that attacks.
    pub(super) call: String,
}

/// How many arguments it may ask for.
const ARGUMENTS_MAX: i16 = 3;

const CANDIDATES: &str = "
    select p.prokind = 'p' as is_procedure, format('%I.%I', n.nspname, p.proname) as called,
        format('%s.%s(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) as name,
        array(
            select t.typcategory::text from unnest(p.proargtypes::oid[]) with ordinality as u (type, place)
            join pg_type t on t.oid = u.type where u.place <= p.pronargs - p.pronargdefaults order by u.place
        ) as categories,
        array(
            select format_type(u.type, null) from unnest(p.proargtypes::oid[]) with ordinality as u (type, place)
            where u.place <= greatest(p.pronargs - p.pronargdefaults, 1) order by u.place
        ) as types
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.prokind in ('f', 'p') and p.pronargs > 0 and p.pronargs - p.pronargdefaults <= $2
        and p.proargmodes is null and p.provariadic = 0
        and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and has_schema_privilege($1::name, n.oid, 'usage') and has_function_privilege($1::name, p.oid, 'execute')
        and not exists (
            select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
        )
    order by 3";

/// Those that `role` may call. Each is called once, in a transaction that is rolled back.
///
/// # Errors
/// The server is lost.
pub(super) async fn find(attack: &mut Attack, role: &str) -> Result<Vec<Setter>> {
    let rows = sqlx::query(CANDIDATES)
        .bind(role)
        .bind(ARGUMENTS_MAX)
        .fetch_all(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to list the functions".into())?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = attack.session(role, false).await?.connection;
    let mut setters = Vec::new();
    for row in rows {
        let types: Vec<String> = row.try_get("types")?;
        let mut categories: Vec<String> = row.try_get("categories")?;
        // Where all have defaults, the first is given.
        categories.resize(types.len(), "S".into());
        let arguments: Vec<String> = types
            .iter()
            .zip(&categories)
            .map(|(kind, category)| {
                format!("{}::{kind}", quote_literal(&value(category, &attack.tenants.own)))
            })
            .collect();
        let is_procedure: bool = row.try_get("is_procedure")?;
        let (verb, kind) = if is_procedure { ("call", "procedure") } else { ("select", "function") };
        let call = format!("{verb} {}({})", row.try_get::<String, _>("called")?, arguments.join(", "));
        if sets_tenant(&mut connection, &call, &attack.setting, &attack.tenants.own).await? {
            setters.push(Setter { kind, name: row.try_get("name")?, call });
        }
    }
    Ok(setters)
}

fn value(category: &str, tenant: &str) -> String {
    if category == "N" && tenant.parse::<i64>().is_err() { "1".into() } else { tenant.into() }
}

/// Whether the session is the tenant's after the call.
async fn sets_tenant(connection: &mut PgConnection, call: &str, setting: &str, tenant: &str) -> Result<bool> {
    connection.execute("begin; set local statement_timeout = '2s'").await?;
    let called = figure(connection, call).await;
    let mut is_set = false;
    match called {
        Ok(_) => {
            let sql = format!(
                // It may be part of a document.
                "select strpos(coalesce(current_setting({}, true), ''), {}) > 0",
                quote_literal(setting),
                quote_literal(tenant)
            );
            is_set = connection.fetch_one(AssertSqlSafe(sql.as_str())).await?.try_get(0)?;
        }
        Err(error) => drop(Refusal::of(error)?),
    }
    connection.execute("rollback").await?;
    Ok(is_set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::a_number_for_a_number("N", "1001", "1001")]
    #[case::no_uuid_for_a_number("N", "a0000000-0000-4000-8000-000000000001", "1")]
    #[case::the_tenant_for_text("S", "acme", "acme")]
    fn arguments_are_the_tenant_where_that_fits(
        #[case] category: &str,
        #[case] tenant: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(value(category, tenant), expected);
    }
}
