//! `access.public-grants`: what anybody may do who may connect.

use super::measured::{Tried, measure};
use super::nobody::Nobody;
use super::objects::{self, Object, Sort};
use crate::check::attempt::prepare;
use crate::check::{Check, Context, Example, Explanation, Need, Privilege, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Finding, Measurement, Severity, Subject};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};

/// A role without a grant can do nothing with what is the project's.
pub(in crate::check) struct PublicGrants;

const ID: &str = "access.public-grants";

impl Check for PublicGrants {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "PUBLIC has no privilege beyond those that it has anyway"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "A role is created that may use the schemas that some service may use and call what policies call, and was granted nothing else. It tries every \
                     verb on every table, view, sequence, function and schema, with statements that are undone. What it can \
                     do, every such role can do that there is and will be. What extensions bring is left out, and so is executing functions that run with \
                     their caller's own rights, which PUBLIC has by default.",
            matters: "PUBLIC is also the role for the dashboard that somebody adds next year. A grant to it cannot be \
                      taken from one role, and a function with its owner's rights is open to all of them, since EXECUTE \
                      is PUBLIC's unless it is revoked.",
            remedy: "Revoke it from PUBLIC and grant it to the roles that need it; `alter default privileges revoke execute \
                     on routines from public` for what comes later.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`dashboard`, a new role that was granted nothing",
            runs: "select email from customers",
            gets: "the address of every customer",
            because: "the grant was made to PUBLIC, when there was one role and the name did not matter",
            fix: "revoke all on customers from public",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::PUBLIC_GRANTS
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let objects = objects::read(&mut control).await?;
    prepare(&mut control).await?;
    let nobody = Nobody::create(&mut control, &db).await?;
    control.execute(AssertSqlSafe(nobody.authorization())).await?;
    let measured = measure(&mut control, &objects).await?;
    nobody.vanish(&mut control).await?;
    let admin = db.server().endpoint().role();
    let mut findings = Vec::new();
    for object in &objects {
        let tried = measured.by_object.get(&object.name).into_iter().flatten();
        let held: Vec<(Privilege, &Tried)> = tried
            .filter(|(privilege, tried)| tried.is_held == Some(true) && is_beyond(object, **privilege))
            .map(|(privilege, tried)| (*privilege, tried))
            .collect();
        if !held.is_empty() && !nobody.is_permitted(&object.name) {
            findings.push(finding(admin, &nobody, object, &held));
        }
    }
    let probes = Measurement::count(ID, "probes", measured.attempts);
    Ok(Verdict::of(findings).with_measurements([probes]))
}

/// Whether PUBLIC has it only because somebody said so, or has more by it than it seems.
fn is_beyond(object: &Object, privilege: Privilege) -> bool {
    match object.sort {
        Sort::Relation | Sort::Sequence => true,
        Sort::Routine => object.is_definer,
        Sort::Schema => privilege == Privilege::Create,
    }
}

fn finding(admin: &str, nobody: &Nobody, object: &Object, held: &[(Privilege, &Tried)]) -> Finding {
    let name = &object.name;
    let words: Vec<String> = held.iter().map(|(privilege, _)| privilege.to_string()).collect();
    let words = words.join(", ");
    let is_routine = object.sort == Sort::Routine;
    let schema = name.split('.').next().unwrap_or(name);
    let who =
        if nobody.is_admitted(schema) { "anybody who may use its schema" } else { "anybody who may connect" };
    let mut evidence = Vec::new();
    for (_, tried) in held {
        let before = tried.place(admin).into_iter().collect();
        let own = tried.own();
        let sql: Vec<&str> = own.as_deref().into_iter().chain([tried.sql.as_str()]).collect();
        evidence.extend(nobody.transcript((admin, schema, name), before, &sql, tried.answer.to_string()));
    }
    Finding {
        check: ID.into(),
        class: if is_routine { Class::TrustBoundary } else { Class::Mistake },
        severity: if is_routine { Severity::Note } else { Severity::Warning },
        subject: Subject::new(object.kind.clone(), name.clone()),
        message: if is_routine {
            format!("{who} may run `{name}`, which has its owner's rights")
        } else {
            format!("{who} has {words} on `{name}`, without a grant of their own")
        },
        help: format!(
            "`revoke {words} on {} from public`, and grant it to the roles that need it",
            object.sql
        ),
        evidence,
    }
}
