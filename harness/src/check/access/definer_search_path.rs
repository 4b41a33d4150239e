//! `access.definer-search-path`: functions with their owner's rights that run what their caller made.

use super::roles;
use super::shadows::{CAUGHT, Target, names_like, shadows};
use crate::check::tenancy::listed;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::{QualifiedName, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// No function with its owner's rights can be made to run its caller's code.
pub(in crate::check) struct DefinerSearchPath;

const ID: &str = "access.definer-search-path";

impl Check for DefinerSearchPath {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "no SECURITY DEFINER function can be made to run its caller's code"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role that may call a SECURITY DEFINER function, and is not its owner, logs in and puts views in \
                     front of the tables that the function's text mentions: temporary ones, which are found first unless \
                     the path says otherwise. Where it may create in some schema, it sets its path to that and puts \
                     functions in front of those that the text mentions. Then it calls the function, with nulls and with \
                     values. If the attacker's code runs with the owner's rights, that is an error where a role does it that \
                     the project declares for its services, and else a warning. A function without a path of its own is \
                     a warning too where this did not succeed: other arguments may lead elsewhere. \
                     Bodies that the server binds at creation (`begin atomic`, `return`) cannot be attacked so.",
            matters: "A SECURITY DEFINER function is the door that privileges leave open, and names within it are looked up \
                      in the path of whoever calls. A temporary view named like its table is enough to have any code run \
                      as its owner, often a superuser.",
            remedy: "`alter function … set search_path = ''` and qualify every name; or `set search_path = schema, pg_temp`, \
                     with pg_temp last: where it is not named, it comes first. Or write the body as `begin atomic … end`.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, which may call `balance` and nothing else",
            runs: "create temp view accounts as select …, my_code(); select balance(1)",
            gets: "my_code run as the owner of `balance`",
            because: "`accounts` is looked up in the caller's path, and temporary relations come first",
            fix: "create or replace function balance(account bigint) returns numeric language sql stable security definer \
                  set search_path = '' as 'select a.balance from public.accounts a where a.id = account'",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::DEFINER_SEARCH_PATH
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const FUNCTIONS: &str = "
    select p.oid::int8 as oid, n.nspname::text as schema, p.proname::text as name, p.prokind::text as kind,
        o.rolname::text as owner, p.prosrc as source, p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) as is_trigger,
        pg_catalog.pg_get_function_identity_arguments(p.oid) as arguments,
        array(select pg_catalog.format_type(t.oid, null) from unnest(p.proargtypes::oid[]) with ordinality a (type, place)
            join pg_catalog.pg_type t on t.oid = a.type order by a.place) as types,
        array(select t.typcategory::text from unnest(p.proargtypes::oid[]) with ordinality a (type, place)
            join pg_catalog.pg_type t on t.oid = a.type order by a.place) as categories,
        (select s from unnest(p.proconfig) s where s like 'search\\_path=%' limit 1) as path
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    join pg_catalog.pg_roles o on o.oid = p.proowner join pg_catalog.pg_language l on l.oid = p.prolang
    where p.prosecdef and p.prosqlbody is null and l.lanname in ('sql', 'plpgsql') and p.prokind in ('f', 'p')
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
    order by 2, 3, 8";

const CALLERS: &str = "
    select r.rolname::text from pg_catalog.pg_roles r
    where r.rolname = any ($1) and has_function_privilege(r.oid, $2::int8::oid, 'execute')
        and has_schema_privilege(r.oid, $3, 'usage') and not pg_has_role(r.oid, $4, 'member')
    order by 1";

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let failed = || "failed to list the functions that run with their owner's rights".to_owned();
    let rows = sqlx::query(FUNCTIONS).fetch_all(&mut control).await.attempt(ErrorKind::Database, failed)?;
    if rows.is_empty() {
        return Ok(Verdict::of(Vec::new()));
    }
    let roles = roles::bound(&mut control, context.project()).await?;
    let services = roles::services(context.project());
    let names: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
    let (mut findings, mut probes) = (Vec::new(), 0);
    for row in rows {
        let path: Option<String> = row.try_get("path")?;
        // Named, and so not first: nobody creates in front of what is pinned.
        if path.as_ref().is_some_and(|path| path.contains("pg_temp")) {
            continue;
        }
        let schema: String = row.try_get("schema")?;
        let name = QualifiedName::new(schema.clone(), row.try_get::<String, _>("name")?);
        let owner: String = row.try_get("owner")?;
        let target = Target {
            is_procedure: row.try_get::<String, _>("kind")? == "p",
            types: row.try_get("types")?,
            categories: row.try_get("categories")?,
            source: row.try_get("source")?,
            is_pinned: path.is_some(),
            owner: owner.clone(),
            name: name.clone(),
        };
        let shown = format!("{name}({})", row.try_get::<String, _>("arguments")?);
        let callers: Vec<String> = sqlx::query_scalar(CALLERS)
            .bind(&names)
            .bind(row.try_get::<i64, _>("oid")?)
            .bind(&schema)
            .bind(&owner)
            .fetch_all(&mut control)
            .await
            .attempt(ErrorKind::Database, failed)?;
        let mut caught: Vec<(String, Vec<String>)> = Vec::new();
        if !row.try_get::<bool, _>("is_trigger")? {
            let relations = names_like(&mut control, &target.source).await?;
            for role in roles.iter().filter(|role| callers.contains(&role.name)) {
                let mut session = roles::session(&db, role).await?;
                for script in shadows(&mut control, &target, role, &relations).await? {
                    probes += 1;
                    if is_caught(&mut session, &script).await? {
                        caught.push((role.name.clone(), script));
                        break;
                    }
                }
            }
        }
        // What anybody could do who may send statements is a hazard; that a service of the project's could is shown.
        let is_service = caught.iter().any(|(role, _)| services.contains(role.as_str()));
        let severity = if is_service { Severity::Error } else { Severity::Warning };
        if let Some(finding) = finding(&target, &shown, caught, severity) {
            findings.push(finding);
        }
    }
    Ok(Verdict::of(findings).with_measurements([Measurement::count(ID, "probes", probes)]))
}

/// Whether the last statement of `script` ends in the attacker's trap.
async fn is_caught(session: &mut PgConnection, script: &[String]) -> Result<bool> {
    session.execute("begin").await?;
    let mut is_caught = false;
    for sql in script {
        match sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *session).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(answer)) => {
                is_caught = answer.code().as_deref() == Some(CAUGHT);
                break;
            }
            Err(lost) => return Err(lost.into()),
        }
    }
    session.execute("rollback").await?;
    Ok(is_caught)
}

fn finding(
    target: &Target,
    shown: &str,
    caught: Vec<(String, Vec<String>)>,
    severity: Severity,
) -> Option<Finding> {
    let kind = if target.is_procedure { "procedure" } else { "function" };
    let roles: Vec<String> = caught.iter().map(|(role, _)| role.clone()).collect();
    let (message, evidence) = match caught.into_iter().next() {
        Some((role, script)) => {
            let last = script.len();
            let step = |(place, sql): (usize, String)| {
                let result = if place + 1 == last {
                    format!("SQLSTATE {CAUGHT}: the caller's code ran as `{}`", target.owner)
                } else {
                    String::new()
                };
                Evidence::as_role(&role, sql, result)
            };
            let mut evidence = vec![Evidence::as_role(&role, "begin", "")];
            evidence.extend(script.into_iter().enumerate().map(step));
            evidence.push(Evidence::as_role(&role, "rollback", ""));
            let message = format!(
                "{} can have code of their own run as `{}` by calling `{shown}`",
                listed(&roles),
                target.owner
            );
            (message, evidence)
        }
        None if target.is_pinned => return None,
        None => {
            let sql = format!(
                "select setting from pg_proc, unnest(proconfig) as setting \
                 where pg_proc.oid = {}::regprocedure and setting like 'search_path=%'",
                quote_literal(&format!("{}({})", target.name.sql(), target.types.join(", ")))
            );
            let message = format!(
                "`{shown}` runs with the rights of `{}` and looks names up in its caller's path",
                target.owner
            );
            (message, vec![Evidence::as_role(&target.owner, sql, "no row: no `search_path`")])
        }
    };
    Some(Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new(kind, shown),
        message,
        help: format!(
            "`alter {kind} {} set search_path = ''`, and qualify every name in it; or end its path with pg_temp",
            target.name.sql()
        ),
        evidence,
    })
}
