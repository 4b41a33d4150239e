//! What the policies of a database say of its tenants, for a project that does not.

use super::comparison::known;
use super::ties::{Detected, Policy, likeliest, ties};
use crate::check::{Tenancy, TenancyModel};
use crate::error::{Attempt, ErrorKind, Result};
use sqlx::PgConnection;

const POLICIES: &str = "
    select format('%s.%s', n.nspname, c.relname), c.relname::text,
        concat_ws(' ; ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)),
        array(
            select distinct a.attname::text from pg_depend d
            join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
            where d.classid = 'pg_policy'::regclass and d.objid = p.oid
                and d.refclassid = 'pg_class'::regclass and d.refobjid = p.polrelid and a.attnum > 0
        )
    from pg_policy p
    join pg_class c on c.oid = p.polrelid
    join pg_namespace n on n.oid = c.relnamespace
    where not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
    order by 1, p.polname";

const FUNCTIONS: &str = "
    select p.proname::text, coalesce(p.proargnames, '{}'), coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang
    where p.prokind = 'f' and l.lanname in ('sql', 'plpgsql') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (
            select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
        )
    order by p.oid";

/// How tenants are kept apart as far as the policies tell it, and what was assumed; or why they tell nothing. What
/// is `declared` stays.
pub(super) async fn detect(
    connection: &mut PgConnection,
    declared: Option<&Tenancy>,
) -> Result<Result<(Tenancy, String), String>> {
    let found = detected(connection, declared.map(|declared| declared.column.as_str())).await?;
    let (tenancy, note) = match (declared, found) {
        (Some(declared), Some(Detected { setting, .. })) => {
            let note = format!("the setting `{setting}` is assumed, by what policies read");
            (Tenancy { setting: Some(setting), ..declared.clone() }, note)
        }
        (Some(_), None) => return Ok(Err("needs `tenancy.setting`: no policy reads a setting".into())),
        (None, Some(Detected { setting, column: Some(column), .. })) => {
            let note = format!(
                "there is no `[tenancy]`: the column `{column}` and the setting `{setting}` are assumed, by what policies \
                 read"
            );
            let tenancy = Tenancy {
                model: TenancyModel::Rls,
                column,
                setting: Some(setting),
                roles: Vec::new(),
                exempt: Vec::new(),
                schemas: None,
                onboard: None,
            };
            (tenancy, note)
        }
        (None, _) => return Ok(Err("there is no `[tenancy]`, and no policy that reads a setting".into())),
    };
    Ok(Ok((tenancy, note)))
}

/// The setting and the column that most policies compare; of those with `column`, where it is given and any policy
/// looks at it.
///
/// # Errors
/// The server is lost.
pub(crate) async fn detected(
    connection: &mut PgConnection,
    column: Option<&str>,
) -> Result<Option<Detected>> {
    let policies = sqlx::query_as(POLICIES)
        .fetch_all(&mut *connection)
        .await
        .attempt(ErrorKind::Database, || "failed to read the policies".into())?
        .into_iter()
        .map(|(table, name, text, columns)| Policy { table, name, text, columns })
        .collect::<Vec<_>>();
    let bodies: Vec<(String, Vec<String>, String)> = sqlx::query_as(FUNCTIONS)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to read the functions".into())?;
    Ok(likeliest(&ties(&policies, &known(bodies)), column))
}
