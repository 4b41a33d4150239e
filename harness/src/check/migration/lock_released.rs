//! `migration.lock-released`: who fails leaves no lock behind.

use super::failing::{Failed, Failure, Second, again, fail};
use crate::check::migrator::Migrator;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::database::TestDb;
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::server::{Capability, PgBouncer};
use futures_util::future;
use std::time::{Duration, Instant};

/// How long a second migrator may take at least, whatever the first run took.
const DEADLINE: Duration = Duration::from_secs(30);

/// So many connections a pooler has: enough for tools that open several.
const POOL: u32 = 4;

/// A migrator that fails leaves no lock behind.
pub(in crate::check) struct LockReleased;

impl Check for LockReleased {
    fn id(&self) -> &'static str {
        "migration.lock-released"
    }

    fn summary(&self) -> &'static str {
        "after a migrator that fails another one gets through, and no lock stays behind"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "A run is made to fail at its second change of the schema: once because a statement is refused, \
                     once because the server ends its session. Then no advisory lock is left in `pg_locks`, and a \
                     second run gets through within a deadline. Where PgBouncer is installed, a statement is refused through \
                     one in transaction mode too, where what a session holds stays with the server's connection when the \
                     client has gone; without it the report says that this was not tried. What a command leaves \
                     half done by itself counts here as well: `migration.crash-resume` looks closer.",
            matters: "A lock that is left behind stops every deployment from then on: it waits, or says that somebody \
                      else migrates, until a person finds the session, or the row, and removes it. Behind a pooler the \
                      session belongs to nobody, and lives for hours.",
            remedy: "Take a lock that the server frees (`pg_advisory_lock`, or better `pg_advisory_xact_lock`), never a \
                     row that says so; give it back on failure too; and migrate past the pooler, on a connection to \
                     the server itself.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.lock-released":
            "bad_lock_table.sql", "bad_marked.sql", "good.sql", "good_command.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

/// A way to the server, and what goes wrong on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    failure: Failure,
    is_pooled: bool,
}

const CASES: [Case; 3] = [
    Case { failure: Failure::Statement, is_pooled: false },
    Case { failure: Failure::Session, is_pooled: false },
    Case { failure: Failure::Statement, is_pooled: true },
];

/// What came of a case.
enum Outcome {
    Nothing,
    /// What the migrator does, and the steps that show it.
    Fault(&'static str, Vec<Evidence>),
    /// Why there is nothing to say of it.
    Unseen(String),
}

async fn look(context: &Context) -> Result<Verdict> {
    let first = context.first_run().await?;
    first.state()?;
    let (mut findings, mut unseen) = (Vec::new(), Vec::new());
    let tried = CASES.map(|case| try_case(context, &first.migrator, case));
    for (case, outcome) in CASES.iter().zip(future::try_join_all(tried).await?) {
        match outcome {
            Outcome::Fault(does, steps) => {
                findings.push(finding(context, &first.migrator, case.is_pooled, does, steps));
            }
            Outcome::Nothing => {}
            Outcome::Unseen(reason) => unseen.push(reason),
        }
    }
    unseen.dedup();
    let verdict = Verdict::of(findings);
    Ok(if unseen.is_empty() { verdict } else { verdict.with_remark(unseen.join("; ")) })
}

async fn try_case(context: &Context, migrator: &Migrator, case: Case) -> Result<Outcome> {
    if case.is_pooled && !PgBouncer::is_installed() {
        let reason = "not tried through a transaction pooler, since `pgbouncer` is not installed";
        return Ok(Outcome::Unseen(reason.into()));
    }
    let db = context.vacant().await?;
    let direct = migrator.options(&db);
    let pooler = match case.is_pooled {
        true => Some(PgBouncer::start(&direct, POOL).await?),
        false => None,
    };
    let options = match &pooler {
        Some(pooler) => pooler.options(&direct),
        None => direct,
    };
    let shown = migrator.shown(context.project());
    let way = if case.is_pooled { ", through PgBouncer in transaction mode" } else { "" };
    let started = Instant::now();
    let left = match fail(migrator, &db, &options, case.failure).await? {
        Failed::AsMeant(left) => left,
        Failed::Not => {
            return Ok(Outcome::Unseen("the migrations change the schema too little to fail halfway".into()));
        }
        // A tool that refuses to work so leaves nothing, and says why.
        Failed::Earlier(error) => {
            return Ok(Outcome::Unseen(format!("a run{way} fails earlier than it was meant to: {error}")));
        }
    };
    let mut steps = vec![Evidence::step(format!("{shown}{way}"), case.failure.told())];
    if !left.is_empty() {
        steps.push(locks(&db, &left));
        return Ok(Outcome::Fault("leaves an advisory lock behind when it fails", steps));
    }
    // What is slow is slow the second time too.
    let deadline = DEADLINE + 10 * started.elapsed();
    let second = again(migrator, &db, &options, deadline).await?;
    let mut say = |result: String| steps.push(Evidence::step(format!("{shown}{way}, a second time"), result));
    Ok(match second {
        Second::Through(left) if left.is_empty() => Outcome::Nothing,
        Second::Through(left) => {
            say("applied".into());
            steps.push(locks(&db, &left));
            Outcome::Fault("leaves an advisory lock behind", steps)
        }
        Second::Waits(deadline) => {
            say(format!("not done within {} s", deadline.as_secs()));
            Outcome::Fault("keeps another one waiting when it has failed", steps)
        }
        // What the files themselves left half done is no matter of locks.
        Second::Fails(error) if migrator.migrations().command_line().is_none() => {
            Outcome::Unseen(format!("a second run fails for another reason: {error}"))
        }
        Second::Fails(error) => {
            say(error.report_without_help());
            Outcome::Fault("keeps another one from getting through when it has failed", steps)
        }
    })
}

fn locks(db: &TestDb, left: &[String]) -> Evidence {
    let role = db.server().endpoint().role();
    Evidence::as_role(role, "select * from pg_locks where locktype = 'advisory'", left.join("\n"))
}

fn finding(
    context: &Context,
    migrator: &Migrator,
    is_pooled: bool,
    does: &str,
    evidence: Vec<Evidence>,
) -> Finding {
    let is_command = migrator.migrations().command_line().is_some();
    // The built-in runner promises it, unless what a file takes stays with somebody else's session.
    let severity = if is_command || is_pooled { Severity::Warning } else { Severity::Error };
    let (kind, who) = if is_command { ("command", "migrator") } else { ("migrations", "built-in runner") };
    let way = if is_pooled { " through a transaction pooler" } else { "" };
    Finding {
        check: LockReleased.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new(kind, migrator.shown(context.project())),
        message: format!("the {who} {does}{way}"),
        help: match is_pooled {
            true => "migrate past the pooler, on a connection to the server itself".into(),
            false => "lock by `pg_advisory_xact_lock`, which the server frees, and not by a row that says so"
                .into(),
        },
        evidence,
    }
}
