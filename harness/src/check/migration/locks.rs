//! `migration.locks`: what a migration does to tables in use.

use super::bulk::{Bulk, ROWS, about, bulk};
use super::observation::{KeptOut, Observation, Observed, observe};
use super::queue::{LIMIT, Queue, queue};
use super::transcript::{applied_before, transcript};
use crate::check::walk::{NO_STEPS, Step, Walk};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::server::Capability;
use std::collections::BTreeSet;

/// So many lines of a statement are shown.
const LINES_MAX: usize = 12;

/// In so many of the youngest migrations queues are tried: the others were applied long ago.
const YOUNG_MAX: usize = 60;

/// In so many of the youngest migrations the tables that one goes through are made large.
const LARGE_MAX: usize = 12;

/// A migration keeps nobody from a table for as long as it takes to go through its rows.
pub(in crate::check) struct Locks;

impl Check for Locks {
    fn id(&self) -> &'static str {
        "migration.locks"
    }

    fn summary(&self) -> &'static str {
        "no migration goes through a table's rows while others are kept from it"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each migration's statements are run in a transaction, one by one, and after each the server is asked: \
                     which locks are really held, from which tables another session is really kept (it tries), which \
                     tables were written anew, and which were read from end to end: that takes the longer, the more rows \
                     there are. A warning says that others are kept out meanwhile; a note, that a migration waits for \
                     such a lock without a `lock_timeout`: that is tried with somebody who reads and does not go, and \
                     somebody else who comes to read behind the migration and waits for it; then once more with a limit, in the 60 youngest \
                     migrations. In the 12 youngest the first table that one goes through is given 20,000 rows, and others \
                     come to read and to write meanwhile: the evidence says how long they waited. Tables that the same migration makes do not count. \
                     Statements that refuse to run in a transaction, such as `create index concurrently`, are counted \
                     as not seen.",
            matters: "An `alter table` that rewrites, or validates, under ACCESS EXCLUSIVE stops every query on the table \
                      until it is through: milliseconds on a developer's machine, minutes in production. And one that \
                      merely waits for the lock, behind a long report, makes everybody queue behind it.",
            remedy: "Add constraints NOT VALID and validate them in a later migration; build indexes concurrently, in a \
                     file of their own; add columns without a volatile default; split a backfill from the `alter table` \
                     before it; `set local lock_timeout = '5s'` and run again.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.locks":
            "bad_backfill.sql", "bad_foreign_key.sql", "bad_index.sql", "bad_no_timeout.sql", "bad_rewrite.sql",
            "bad_validate.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let Some(walk) = context.walk().await? else { return Ok(Verdict::skipped(NO_STEPS)) };
    // Triggers and foreign keys are not asked for 20,000 rows.
    let may_fill = context.capabilities().await?.has(Capability::Superuser);
    let (db, mut findings) = (context.vacant().await?, Vec::new());
    let (mut seen, mut unseen, mut queues, mut bulks) = (0, 0, Vec::new(), Vec::new());
    for step in walk.steps() {
        let observation = observe(&db, &walk.migrator, step.migration).await?;
        seen += observation.statements.len();
        unseen += observation.unseen;
        let age = walk.steps().len() - step.number;
        let hazards = hazards(&observation);
        // One is like another: the first of a migration stands for the others.
        let first = |is_wait: bool, age_max: usize| {
            let mut hazards = hazards.iter();
            hazards.position(|hazard| (hazard.what == What::WaitsWithoutEnd) == is_wait && age <= age_max)
        };
        let (waits, works) = (first(true, YOUNG_MAX), first(false, LARGE_MAX));
        for (place, hazard) in hazards.iter().enumerate() {
            let mut finding = finding(context, walk, &step, hazard);
            if waits == Some(place)
                && let Some(queue) =
                    queue(&db, &walk.migrator, step.migration, hazard.place, &hazard.table).await?
            {
                finding.evidence.extend(queued(&hazard.table, &queue));
                queues.push(queue);
            }
            if may_fill && works == Some(place) {
                let (count, large) = (observation.statements.len(), hazard.large());
                let bulk = bulk(&db, &walk.migrator, step.migration, count, &hazard.table, &large).await?;
                finding.evidence.extend(bulk.iter().map(|bulk| kept_out(hazard, bulk)));
                bulks.extend(bulk);
            }
            findings.push(finding);
        }
        walk.migrator.first(step.number + 1).apply(&db).await?;
    }
    let count = |what: &str, count: usize| Measurement::count(Locks.id(), what, count);
    let mut measurements =
        vec![count("statements", seen), count("not seen", unseen), count("queues", queues.len())];
    measurements.extend(longest(&queues, &bulks));
    Ok(Verdict::of(findings).with_measurements(measurements))
}

/// How long others waited at most.
fn longest(queues: &[Queue], bulks: &[Bulk]) -> impl Iterator<Item = Measurement> {
    let longest = [
        ("waited in a queue", queues.iter().map(|queue| queue.waited).max()),
        ("readers kept out", bulks.iter().map(|bulk| bulk.reader).max()),
        ("writers kept out", bulks.iter().map(|bulk| bulk.writer).max()),
    ];
    longest.into_iter().filter_map(|(what, time)| {
        Some(Measurement {
            name: format!("{}.{what}", Locks.id()),
            value: time?.as_secs_f64() * 1000.0,
            unit: "ms".into(),
        })
    })
}

/// Something that a statement does to those who use a table.
#[derive(Debug)]
struct Hazard<'a> {
    table: String,
    what: What,
    statement: &'a Observed,
    /// Which of the migration's statements it is, counted from 0.
    place: usize,
    lock: String,
    who: KeptOut,
}

impl Hazard<'_> {
    /// The tables that it takes the longer, the more rows they have.
    fn large(&self) -> BTreeSet<String> {
        match self.what {
            What::WorksMeanwhile => {
                self.statement.rewritten.union(&self.statement.scanned).cloned().collect()
            }
            _ => BTreeSet::from([self.table.clone()]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Rewrites,
    Scans,
    /// Goes through another table's rows meanwhile.
    WorksMeanwhile,
    WaitsWithoutEnd,
}

/// The hazards of a migration, each table once for each kind.
fn hazards(observation: &Observation) -> Vec<Hazard<'_>> {
    let mut hazards: Vec<Hazard<'_>> = Vec::new();
    let mut before: Vec<&String> = Vec::new();
    for (place, statement) in observation.statements.iter().enumerate() {
        let works = statement.rewritten.iter().chain(&statement.scanned).next().is_some();
        for (table, (who, lock)) in &statement.held {
            let is_new = !before.contains(&table);
            let what = if statement.rewritten.contains(table) {
                Some(What::Rewrites)
            } else if statement.scanned.contains(table) {
                Some(What::Scans)
            } else if works && !is_new {
                Some(What::WorksMeanwhile)
            } else {
                None
            };
            let waits = (is_new && *who == KeptOut::Readers && !statement.has_lock_timeout)
                .then_some(What::WaitsWithoutEnd);
            for what in what.into_iter().chain(waits) {
                if !hazards.iter().any(|known| known.table == *table && known.what == what) {
                    let (table, lock) = (table.clone(), lock.clone());
                    hazards.push(Hazard { table, what, statement, place, lock, who: *who });
                }
            }
        }
        before = statement.held.keys().collect();
    }
    hazards
}

fn finding(context: &Context, walk: &Walk, step: &Step<'_>, hazard: &Hazard<'_>) -> Finding {
    let Hazard { table, what, statement, lock, who, .. } = hazard;
    let name = step.migration.name();
    let others = match who {
        KeptOut::Readers => "nobody can read or write it",
        KeptOut::Writers => "nobody can write to it",
    };
    let (severity, message, help) = match what {
        What::Rewrites => (
            Severity::Warning,
            format!("`{name}` writes `{table}` anew, and {others} meanwhile"),
            "add a column, fill it in batches, and swap; or do it when nobody is there",
        ),
        What::Scans => (
            Severity::Warning,
            format!("`{name}` reads all of `{table}`, and {others} meanwhile"),
            "NOT VALID first and `validate constraint` in a later migration; `create index concurrently`",
        ),
        What::WorksMeanwhile => (
            Severity::Warning,
            format!("`{name}` goes through rows while it keeps a lock on `{table}`: {others}"),
            "do the work in a migration of its own, before or after the one that takes the lock",
        ),
        What::WaitsWithoutEnd => (
            Severity::Note,
            format!(
                "`{name}` waits without end for its lock on `{table}`: behind a long query, everybody waits"
            ),
            "`set local lock_timeout = '5s'` in the file, and run again where it fails",
        ),
    };
    let role = walk.migrator.role(&walk.db);
    let mut lines: Vec<&str> = statement.sql.lines().take(LINES_MAX + 1).collect();
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines.push("-- …");
    }
    Finding {
        check: Locks.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("migration", name),
        message,
        help: help.into(),
        evidence: applied_before(context.project(), walk, step).into_iter().chain([
            Evidence::as_role(role, "begin", "done"),
            Evidence::as_role(
                role,
                transcript(context.project(), step.migration),
                format!("the lock is taken by:\n{}", lines.join("\n")),
            ),
            Evidence::as_role(
                role,
                format!(
                    "select mode from pg_locks where relation = {}::regclass and granted and pid = pg_backend_pid()",
                    crate::ident::quote_literal(table)
                ),
                lock.clone(),
            ),
            Evidence::as_role(role, "rollback", "done"),
        ]).collect(),
    }
}

/// How long others were kept from the table when there were many rows to go through.
fn kept_out(hazard: &Hazard<'_>, bulk: &Bulk) -> Evidence {
    let rows: Vec<String> = bulk.steps.iter().map(|step| format!("{};", step.sql)).collect();
    let who = match hazard.who {
        KeptOut::Readers => format!("who came to read waited {}, ", about(bulk.reader)),
        KeptOut::Writers => String::new(),
    };
    Evidence::step(
        format!(
            "the migration, with {ROWS} rows in the table that it goes through, by:\n{}",
            rows.join("\n")
        ),
        format!("{who}who came to write to `{}` waited {}", hazard.table, about(bulk.writer)),
    )
}

/// What came of somebody who read the table behind the migration.
fn queued(table: &str, queue: &Queue) -> impl Iterator<Item = Evidence> {
    let limited = queue.does_limit_help.then(|| {
        Evidence::step(
            format!("the same with `set local lock_timeout = '{LIMIT}'` before that statement"),
            "the migration gives up, and the second reads while the first stays",
        )
    });
    let waits = Evidence::step(
        format!(
            "one session reads `{table}` and stays in its transaction; the migration; another reads `{table}`"
        ),
        "pg_blocking_pids: the migration waits for the first, and the second for the migration",
    );
    std::iter::once(waits).chain(limited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn statement(held: &[(&str, KeptOut)], scanned: &[&str], has_lock_timeout: bool) -> Observed {
        Observed {
            sql: String::new(),
            held: held
                .iter()
                .map(|(table, who)| ((*table).into(), (*who, String::new())))
                .collect::<BTreeMap<_, _>>(),
            rewritten: BTreeSet::new(),
            scanned: scanned.iter().map(|table| (*table).to_owned()).collect(),
            has_lock_timeout,
        }
    }

    #[test]
    fn work_counts_while_somebody_is_kept_out() {
        use KeptOut::{Readers, Writers};
        let told = |statements: Vec<Observed>| -> Vec<(String, What)> {
            let observation = Observation { statements, unseen: 0 };
            hazards(&observation).into_iter().map(|hazard| (hazard.table, hazard.what)).collect()
        };
        let one = |what| vec![("a".to_owned(), what)];
        assert_eq!(told(vec![statement(&[], &["a"], false)]), []);
        assert_eq!(told(vec![statement(&[("a", Readers)], &[], true)]), []);
        assert_eq!(told(vec![statement(&[("a", Readers)], &[], false)]), one(What::WaitsWithoutEnd));
        assert_eq!(told(vec![statement(&[("a", Writers)], &["a"], true)]), one(What::Scans));
        // What the lock is taken for may take as long as it likes elsewhere, and what comes behind it may not.
        assert_eq!(told(vec![statement(&[("a", Readers)], &["b"], true)]), []);
        assert_eq!(
            told(vec![statement(&[("a", Readers)], &[], true), statement(&[("a", Readers)], &["b"], true)]),
            one(What::WorksMeanwhile)
        );
    }
}
