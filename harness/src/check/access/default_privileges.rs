//! `access.default-privileges`: who may use what the next migration creates.

use super::nobody::Nobody;
use crate::check::attempt::{Answer, Attempt, attempt, prepare, transcript};
use crate::check::tenancy::listed;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::database::TestDb;
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::BTreeMap;

/// What is created later is open to those whom default privileges name, and to nobody else.
pub(in crate::check) struct DefaultPrivileges;

const ID: &str = "access.default-privileges";

/// The table that the next migration creates.
const NEXT: &str = "pgharness_next";

impl Check for DefaultPrivileges {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "default privileges reach whom they name on the next table, and not PUBLIC"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "In every schema, as every role that owns tables there, a table is created, as the next migration \
                     would, and undone afterwards. A role that may use the schema, and has no other grant, can do nothing with it. Those whom the schema's \
                     default privileges name can do what these say. What a project grants table by table is its own \
                     affair, and nothing is said of it.",
            matters: "Default privileges are those of the role that created them, for what that very role creates: given \
                      by a superuser, they are without effect for tables that the migrator makes. It shows with the next \
                      table, in production. Given to PUBLIC, they open every table to come.",
            remedy: "`alter default privileges for role …`, naming the role that creates the tables; and never to PUBLIC.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, after the release that added a table",
            runs: "select * from the new table",
            gets: "permission denied, and an incident",
            because: "the default privileges are those of the superuser, and tables are created by `app_migrator`",
            fix: "alter default privileges for role app_migrator in schema app grant select on tables to web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::DEFAULT_PRIVILEGES
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// Who creates tables in which schema.
const CREATORS: &str = "
    select distinct n.nspname::text as schema, o.rolname::text as creator
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_roles o on o.oid = c.relowner
    where c.relkind in ('r', 'p') and c.oid >= 16384 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    order by 1, 2";

/// What default privileges say of tables: whose they are, where, for whom.
const DECLARED: &str = "
    select o.rolname::text as whose, n.nspname::text as schema, g.rolname::text as grantee,
        array_agg(lower(a.privilege_type)::text order by a.privilege_type) as privileges
    from pg_catalog.pg_default_acl d
    join pg_catalog.pg_roles o on o.oid = d.defaclrole
    left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
    cross join lateral pg_catalog.aclexplode(d.defaclacl) a
    join pg_catalog.pg_roles g on g.oid = a.grantee
    where d.defaclobjtype = 'r' and a.grantee <> d.defaclrole
        and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    group by 1, 2, 3 order by 1, 2, 3";

/// What default privileges say of tables.
#[derive(Clone, Debug)]
struct Declared {
    of: String,
    schema: Option<String>,
    grantee: String,
    privileges: Vec<String>,
}

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let failed = || "failed to read default privileges".to_owned();
    let creators: Vec<(String, String)> =
        sqlx::query_as(CREATORS).fetch_all(&mut control).await.attempt(ErrorKind::Database, failed)?;
    let declared: Vec<(String, Option<String>, String, Vec<String>)> =
        sqlx::query_as(DECLARED).fetch_all(&mut control).await.attempt(ErrorKind::Database, failed)?;
    let declared: Vec<Declared> = declared
        .into_iter()
        .map(|(of, schema, grantee, privileges)| Declared { of, schema, grantee, privileges })
        .collect();
    if creators.is_empty() {
        return Ok(Verdict::skipped("there are no tables, and so nobody who creates some"));
    }
    prepare(&mut control).await?;
    let mut findings = Vec::new();
    let mut missed: BTreeMap<(String, String, String), Vec<(String, String)>> = BTreeMap::new();
    for (schema, creator) in &creators {
        findings.extend(open_to_all(&mut control, &db, schema, creator).await?);
        for one in &declared {
            if one.schema.as_ref().is_some_and(|only| only != schema) {
                continue;
            }
            // Where their role creates tables too, they are not without effect, and perhaps meant for those only.
            let is_used = creators.iter().any(|(other, creator)| other == schema && *creator == one.of);
            if is_used || *creator == one.grantee {
                continue;
            }
            if let Some(sql) = refused(&mut control, schema, creator, one).await? {
                let key = (schema.clone(), creator.clone(), one.of.clone());
                missed.entry(key).or_default().push((one.grantee.clone(), sql));
            }
        }
    }
    let probes = creators.len() * (1 + declared.len());
    let admin = db.server().endpoint().role();
    findings.extend(
        missed.into_iter().map(|((schema, creator, of), grantees)| {
            without_effect(admin, &schema, &creator, &of, &grantees)
        }),
    );
    Ok(Verdict::of(findings).with_measurements([Measurement::count(ID, "probes", probes)]))
}

/// The steps that create the next table.
fn creation(schema: &str, creator: &str) -> [String; 2] {
    let table = QualifiedName::new(schema, NEXT).sql();
    [format!("set local role {}", quote_ident(creator)), format!("create table {table} (id integer)")]
}

/// The statement that needs a privilege.
fn use_of(schema: &str, privilege: &str) -> String {
    let table = QualifiedName::new(schema, NEXT).sql();
    match privilege {
        "insert" => format!("insert into {table} values (1)"),
        "update" => format!("update {table} set id = default"),
        "delete" => format!("delete from {table}"),
        _ => format!("select count(*) from {table}"),
    }
}

/// Whether anybody may use the next table.
async fn open_to_all(
    control: &mut PgConnection,
    db: &TestDb,
    schema: &str,
    creator: &str,
) -> Result<Option<Finding>> {
    let admin = db.server().endpoint().role();
    let nobody = Nobody::create(control, db).await?;
    let steps = creation(schema, creator);
    let made = sqlx::raw_sql(AssertSqlSafe(format!("{}; reset role", steps.join("; "))))
        .execute(&mut *control)
        .await;
    // Whoever may create nothing here any more will not.
    if let Err(error) = made {
        nobody.vanish(control).await?;
        return match error {
            sqlx::Error::Database(_) => Ok(None),
            lost => Err(lost.into()),
        };
    }
    control.execute(AssertSqlSafe(nobody.authorization())).await?;
    let verbs = ["select", "insert", "update", "delete"];
    let attempts: Vec<Attempt> =
        verbs.iter().map(|verb| Attempt { sql: use_of(schema, verb), watched: None }).collect();
    let answers = attempt(control, &attempts).await?;
    let who = if nobody.is_admitted(schema) { "who may use the schema" } else { "who may connect" };
    nobody.vanish(control).await?;
    let held: Vec<(&str, String)> = verbs
        .into_iter()
        .zip(answers)
        .filter(|(_, answer)| !answer.is_denied())
        .map(|(verb, answer)| (verb, answer.to_string()))
        .collect();
    let Some((first, result)) = held.first().cloned() else { return Ok(None) };
    let words: Vec<&str> = held.iter().map(|(verb, _)| *verb).collect();
    let words = words.join(", ");
    let [_, create] = steps;
    let before = vec![Evidence::as_role(creator, create, "")];
    let evidence = nobody.transcript((admin, schema, NEXT), before, &[&use_of(schema, first)], result);
    Ok(Some(Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("schema", schema),
        message: format!("the next table of `{creator}` in `{schema}` is open to anybody {who}: {words}"),
        help: format!(
            "`alter default privileges for role {} in schema {} revoke {words} on tables from public`",
            quote_ident(creator),
            quote_ident(schema)
        ),
        evidence,
    }))
}

/// The statement that the next table refuses, though default privileges name who sends it.
async fn refused(
    control: &mut PgConnection,
    schema: &str,
    creator: &str,
    declared: &Declared,
) -> Result<Option<String>> {
    let Some(privilege) =
        declared.privileges.iter().find(|name| *name == "select").or(declared.privileges.first())
    else {
        return Ok(None);
    };
    let sql = use_of(schema, privilege);
    let steps = creation(schema, creator);
    let opening = format!("begin; {}; reset role", steps.join("; "));
    let made = sqlx::raw_sql(AssertSqlSafe(opening)).execute(&mut *control).await;
    let answer = match made {
        Ok(_) => {
            let become_it = format!("set local session authorization {}", quote_ident(&declared.grantee));
            control.execute(AssertSqlSafe(become_it)).await?;
            attempt(control, &[Attempt { sql: sql.clone(), watched: None }]).await?.pop()
        }
        Err(sqlx::Error::Database(_)) => None,
        Err(lost) => return Err(lost.into()),
    };
    control.execute("rollback").await?;
    Ok(answer.filter(Answer::is_denied).map(|_| sql))
}

fn without_effect(
    admin: &str,
    schema: &str,
    creator: &str,
    of: &str,
    grantees: &[(String, String)],
) -> Finding {
    let names: Vec<String> = grantees.iter().map(|(grantee, _)| grantee.clone()).collect();
    let mut evidence = Vec::new();
    if let Some((grantee, sql)) = grantees.first() {
        let mut before: Vec<String> = creation(schema, creator).to_vec();
        before.push("reset role".into());
        before.push(format!("set local role {}", quote_ident(grantee)));
        // Only a superuser may become one after the other.
        evidence = transcript(admin, before, sql, "SQLSTATE 42501: permission denied".into());
    }
    Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("schema", schema),
        message: format!(
            "the next table of `{creator}` in `{schema}` is closed to {}: the default privileges are those of `{of}`, who \
             creates none there",
            listed(&names)
        ),
        help: format!(
            "`alter default privileges for role {} in schema {} grant …`: they hold for what that very role creates",
            quote_ident(creator),
            quote_ident(schema)
        ),
        evidence,
    }
}
