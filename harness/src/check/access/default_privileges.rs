//! `access.default-privileges`: who may use what the next migration creates.

use super::defaults::{Creator, Declared, Defaults};
use super::next_object::NEXT;
use super::nobody::Nobody;
use crate::check::attempt::{Answer, Attempt, attempt, prepare, transcript};
use crate::check::migrator::Migrator;
use crate::check::tenancy::listed;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::database::TestDb;
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::BTreeMap;

/// What is created later is open to those whom default privileges name, and to nobody else.
pub(in crate::check) struct DefaultPrivileges;

const ID: &str = "access.default-privileges";

impl Check for DefaultPrivileges {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "default privileges reach whom they name on what is created next, and not PUBLIC"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "In every schema, as every role that owns tables, sequences or functions there, one more is created, \
                     as the next migration would, and undone afterwards; and one more schema, as every role that owns \
                     one. A role that may use the schema, and has no other grant, can do nothing with it, except call \
                     a function where nobody took that from PUBLIC; where default privileges take it, they are those \
                     of a role that creates functions or tables. Those whom default privileges name, and who may use \
                     the schema, can do what these say; where their role creates such objects too, they are perhaps \
                     meant for these, and are left alone. What a project grants object by object is its own affair, and \
                     nothing is said of it, nor of types.",
            matters: "Default privileges are those of the role that created them, for what that very role creates: given \
                      by a superuser, they are without effect for tables that the migrator makes, and taken by a \
                      superuser, the migrator's functions are everybody's. It shows with the next one, in production. \
                      Given to PUBLIC, they open every table to come.",
            remedy: "`alter default privileges for role …`, naming the role that creates the objects; and never to PUBLIC. \
                     Take EXECUTE from PUBLIC without `in schema`: what is said of a schema only adds to what holds \
                     everywhere.",
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

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let migrator = Migrator::of(context.project()).ok();
    let is_history =
        |table: &QualifiedName| migrator.as_ref().is_some_and(|migrator| migrator.is_history(table));
    let defaults = Defaults::read(&mut control, is_history).await?;
    prepare(&mut control).await?;
    let admin = db.server().endpoint().role();
    let mut findings = Vec::new();
    let mut probes = 0;
    let mut missed: Vec<Finding> = Vec::new();
    for creator in &defaults.creators {
        let Some(opening) = open(&mut control, &db, creator).await? else { continue };
        probes += opening.tried;
        findings.extend(open_to_all(&defaults, creator, &opening));
        let mut idle: BTreeMap<(&str, Option<&str>), Vec<Refused>> = BTreeMap::new();
        for (declared, grantee) in defaults.without_effect(creator) {
            probes += declared.privileges.len();
            if let Some(sql) = refused(&mut control, creator, declared, grantee).await? {
                let whose = (declared.of.as_str(), declared.schema.as_deref());
                idle.entry(whose).or_default().push(Refused {
                    grantee: grantee.to_owned(),
                    privileges: declared.privileges.join(", "),
                    sql,
                });
            }
        }
        let idle = idle.into_iter();
        missed
            .extend(idle.map(|((of, schema), refused)| without_effect(admin, creator, of, schema, &refused)));
    }
    if probes == 0 {
        return Ok(Verdict::skipped("nobody owns anything in a schema and may create more there"));
    }
    findings.extend(missed);
    Ok(Verdict::of(findings).with_measurements([Measurement::count(ID, "probes", probes)]))
}

/// What somebody without a grant can do with the next object.
struct Opening {
    tried: usize,
    /// Privileges, each with what came of its use.
    held: Vec<(&'static str, String)>,
    /// Who that somebody stands for.
    who: &'static str,
    /// The steps that show the first of these.
    evidence: Vec<Evidence>,
}

/// Whom default privileges name, with which privileges, and the statement that they are refused.
struct Refused {
    grantee: String,
    privileges: String,
    sql: String,
}

/// Creates the next object in a transaction that is open already; whether `creator` may.
async fn create(control: &mut PgConnection, creator: &Creator) -> Result<bool> {
    let steps = creator.steps().join("; ");
    match sqlx::raw_sql(AssertSqlSafe(steps)).execute(&mut *control).await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(lost) => Err(lost.into()),
    }
}

/// Tries what anybody may do with the next object; `None` where `creator` may create none.
async fn open(control: &mut PgConnection, db: &TestDb, creator: &Creator) -> Result<Option<Opening>> {
    let nobody = Nobody::create(control, db).await?;
    if !create(control, creator).await? {
        nobody.vanish(control).await?;
        return Ok(None);
    }
    control.execute(AssertSqlSafe(nobody.authorization())).await?;
    let privileges = creator.object.privileges();
    let attempts: Vec<Attempt> = privileges
        .iter()
        .map(|privilege| Attempt { sql: creator.use_of(privilege), watched: None })
        .collect();
    let answers = attempt(control, &attempts).await?;
    nobody.vanish(control).await?;
    let schema = creator.schema.as_deref().unwrap_or(NEXT);
    let held: Vec<(&str, String)> = privileges
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| !answer.is_denied())
        .map(|(privilege, answer)| (*privilege, answer.to_string()))
        .collect();
    let created = creator.object.creation(creator.schema.as_deref()).into_iter();
    let created = created.map(|sql| Evidence::as_role(&creator.role, sql, "")).collect();
    let place = (db.server().endpoint().role(), schema, NEXT);
    let evidence = held.first().map_or_else(Vec::new, |(first, result)| {
        nobody.transcript(place, created, &[&creator.use_of(first)], result.clone())
    });
    Ok(Some(Opening {
        tried: attempts.len(),
        held,
        who: if nobody.is_admitted(schema) {
            "anybody who may use the schema"
        } else {
            "anybody who may connect"
        },
        evidence,
    }))
}

/// What is said of the next object where anybody may use it, and should not.
fn open_to_all(defaults: &Defaults, creator: &Creator, opening: &Opening) -> Option<Finding> {
    opening.held.first()?;
    let words: Vec<&str> = opening.held.iter().map(|(privilege, _)| *privilege).collect();
    let message = format!("{} is open to {}: {}", creator.next(), opening.who, words.join(", "));
    let class = creator.object.class();
    let evidence = opening.evidence.clone();
    if defaults.is_built_in(creator) {
        let takers = defaults.idle_takers();
        if takers.is_empty() {
            return None;
        }
        let message = format!(
            "{message}; default privileges take that only from functions of {}, of which there are none",
            listed(takers)
        );
        let help = format!(
            "`{} revoke execute on {class} from public`: they hold for what that very role creates",
            creator.altered(None)
        );
        return Some(finding(creator, message, help, evidence));
    }
    let revokes: Vec<String> = defaults
        .to_public(creator)
        .map(|declared| {
            let privileges = declared.privileges.join(", ");
            let altered = creator.altered(declared.schema.as_deref());
            format!("`{altered} revoke {privileges} on {class} from public`")
        })
        .collect();
    let help = match revokes.is_empty() {
        true => "no default privileges say so: look for an event trigger that grants it to PUBLIC".to_owned(),
        false => revokes.join(", "),
    };
    Some(finding(creator, message, help, evidence))
}

/// The first statement that the next object refuses, though default privileges name who sends it; nothing where who
/// sends it may not use the schema, which is another matter.
async fn refused(
    control: &mut PgConnection,
    creator: &Creator,
    declared: &Declared,
    grantee: &str,
) -> Result<Option<String>> {
    let uses = declared.privileges.iter().map(|privilege| creator.use_of(privilege));
    let look = creator.schema.as_ref().map(|schema| {
        format!("select {}::regclass", quote_literal(&QualifiedName::new(schema, "pgharness_absent").sql()))
    });
    let attempts: Vec<Attempt> =
        look.iter().cloned().chain(uses).map(|sql| Attempt { sql, watched: None }).collect();
    control.execute("begin").await?;
    let mut answers = Vec::new();
    if create(control, creator).await? {
        let become_it = format!("set local session authorization {}", quote_ident(grantee));
        control.execute(AssertSqlSafe(become_it)).await?;
        answers = attempt(control, &attempts).await?;
    }
    control.execute("rollback").await?;
    if look.is_some() && answers.first().is_some_and(Answer::is_denied) {
        return Ok(None);
    }
    let denied = attempts.into_iter().zip(answers).find(|(_, answer)| answer.is_denied());
    Ok(denied.map(|(attempt, _)| attempt.sql))
}

fn without_effect(
    admin: &str,
    creator: &Creator,
    of: &str,
    schema: Option<&str>,
    refused: &[Refused],
) -> Finding {
    let names: Vec<String> = refused.iter().map(|one| one.grantee.clone()).collect();
    let mut evidence = Vec::new();
    if let Some(Refused { grantee, sql, .. }) = refused.first() {
        let mut before = creator.steps();
        before.push(format!("set local role {}", quote_ident(grantee)));
        // Only a superuser may become one after the other.
        evidence = transcript(admin, before, sql, "SQLSTATE 42501: permission denied".into());
    }
    let there = if schema.is_some() { " there" } else { "" };
    let message = format!(
        "{} is closed to {}: the default privileges are those of `{of}`, who creates none{there}",
        creator.next(),
        listed(&names)
    );
    let mut given: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in refused {
        given.entry(&one.privileges).or_default().push(quote_ident(&one.grantee));
    }
    let (altered, class) = (creator.altered(schema), creator.object.class());
    let grants: Vec<String> = given
        .into_iter()
        .map(|(privileges, grantees)| {
            format!("`{altered} grant {privileges} on {class} to {}`", grantees.join(", "))
        })
        .collect();
    let help = format!("{}: they hold for what that very role creates", grants.join(", "));
    finding(creator, message, help, evidence)
}

fn finding(creator: &Creator, message: String, help: String, evidence: Vec<Evidence>) -> Finding {
    Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: match &creator.schema {
            Some(schema) => Subject::new("schema", schema),
            None => Subject::new("role", &creator.role),
        },
        message,
        help,
        evidence,
    }
}
