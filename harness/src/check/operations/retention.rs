//! `operations.retention`: whether what removes old rows removes them, and no others.

use super::aged::{Age, Aged, columns};
use crate::check::{Check, Context, Example, Explanation, Need, Retention, Running, Story, Verdict};
use crate::database::TestDb;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::fixture::rows::Rows;
use crate::ident::QualifiedName;
use crate::server::Capability;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;

/// Declared procedures remove rows that are too old, and only those.
pub(in crate::check) struct RetentionCheck;

impl Check for RetentionCheck {
    fn id(&self) -> &'static str {
        "operations.retention"
    }

    fn summary(&self) -> &'static str {
        "what removes old rows removes them, and no younger ones"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For each table of `[structure.retention]` rows are made up that are older than `keep`, and others \
                     that are not quite as old; the procedure runs, as `role` where one is named; then rows that were too \
                     old are gone, all the younger ones are there, and a second run removes nothing more. How old a row \
                     is, its `column` says, or, where none is named, all of its times together: several rows are made, \
                     since a table may want its times in some order. That the procedure is ever called is not seen.",
            matters: "Data that should be gone is a liability, by law and in size, and a purge that removes too much \
                      cannot be taken back. A procedure that runs under row-level security without a tenant's context \
                      removes nothing, and says that all went well.",
            remedy: "Look at what the procedure compares with `keep`, and as whom it runs. Where rows are kept for another \
                     reason (open, unpaid), say so in `column`, or allow it.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "whoever looks after old rows, each night",
            runs: "call purge_events()",
            gets: "no error, and no row is gone",
            because: "it compares with 90 years, and `pgharness.toml` says 90 days",
            fix: "create or replace procedure purge_events() language sql begin atomic \
                  delete from events where created_at < now() - interval '90 days'; end",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Retention, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.retention":
            "bad.sql", "bad_boundary.sql", "bad_every_row.sql", "bad_no_procedure.sql", "bad_policy.sql",
            "bad_wrong_table.sql", "good.sql", "good_batches.sql", "good_ordered_times.sql", "good_partition.sql",
            "good_policy.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let mut findings = Vec::new();
    let mut probes = 0;
    for (name, retention) in &context.project().structure.retention {
        let table = QualifiedName::parse(name);
        let Some(procedure) = &retention.procedure else {
            findings.push(finding(
                &table,
                (Severity::Warning, Class::Mistake),
                format!("rows of `{table}` are to be kept for {}, and nothing removes them", retention.keep),
                "write a procedure that does, and name it in `procedure`",
                vec![Evidence::step(format!("`structure.retention.\"{name}\"`"), "no `procedure`")],
            ));
            continue;
        };
        // What a procedure commits stays: each gets a database of its own.
        let db = context.database().await?;
        let mut trial = Trial::new(&db, &table, retention, procedure).await?;
        findings.extend(trial.judge().await?);
        probes += trial.rows.len();
    }
    let probes = Measurement::count(RetentionCheck.id(), "probes", probes);
    Ok(Verdict::of(findings).with_measurements([probes]))
}

/// One table, with rows of known age.
struct Trial<'a> {
    db: &'a TestDb,
    control: PgConnection,
    table: &'a QualifiedName,
    retention: &'a Retention,
    procedure: &'a str,
    admin: String,
    rows: Vec<Aged>,
    steps: Vec<Evidence>,
}

impl<'a> Trial<'a> {
    async fn new(
        db: &'a TestDb,
        table: &'a QualifiedName,
        retention: &'a Retention,
        procedure: &'a str,
    ) -> Result<Trial<'a>> {
        let control = db.connection().await?;
        let admin = db.server().endpoint().role().to_owned();
        Ok(Trial { db, control, table, retention, procedure, admin, rows: Vec::new(), steps: Vec::new() })
    }

    async fn judge(&mut self) -> Result<Vec<Finding>> {
        let columns = columns(&mut self.control, self.table).await?;
        let times: Vec<String> = match &self.retention.column {
            Some(column) if columns.contains(column) => vec![column.clone()],
            Some(column) => {
                return Err(Error::usage(format!("`{}` has no column of time `{column}`", self.table))
                    .with_help(format!("its times are {}", columns.join(", "))));
            }
            None => columns,
        };
        if times.is_empty() {
            let reason = "it has no column of time";
            return Ok(vec![self.uncovered(reason)]);
        }
        let mut reason = String::new();
        let mut rows = Rows::read(&mut self.control).await?;
        for age in [Age::TooOld, Age::Young] {
            for arrangement in age.arrangements(&times, &self.retention.keep) {
                match Aged::add(&mut self.control, &mut rows, self.table, age, arrangement).await? {
                    Ok((row, steps)) => {
                        self.rows.push(row);
                        self.steps.extend(
                            steps.into_iter().map(|step| Evidence::as_role(&self.admin, step.sql, "done")),
                        );
                    }
                    Err(why) if reason.is_empty() => reason = why,
                    Err(_) => {}
                }
            }
        }
        if !self.rows.iter().any(|row| row.age == Age::TooOld) {
            return Ok(vec![self.uncovered(&format!("it takes no row that is too old ({reason})"))]);
        }
        let before = digests(&mut self.control, self.table).await?;
        self.steps.push(self.counted(&before));
        if let Err(refusal) = self.run().await? {
            let mut evidence = self.steps.clone();
            evidence.push(self.called(refusal));
            return Ok(vec![self.found(
                Severity::Error,
                format!("what removes old rows of `{}` fails", self.table),
                "run it by hand, as the role that runs it",
                evidence,
            )]);
        }
        let first = digests(&mut self.control, self.table).await?;
        let mut findings = self.compare(&first);
        if self.run().await?.is_ok() {
            let second = digests(&mut self.control, self.table).await?;
            let more = count(&first).saturating_sub(count(&second));
            if more > 0 {
                let mut evidence = self.steps.clone();
                for left in [&first, &second] {
                    evidence.extend([self.called("done".into()), self.counted(left)]);
                }
                findings.push(self.found(
                    Severity::Warning,
                    format!(
                        "one call does not remove all old rows of `{}`: a second one removes {more} more",
                        self.table
                    ),
                    "let it go on until nothing is left to remove",
                    evidence,
                ));
            }
        }
        Ok(findings)
    }

    /// Calls the procedure; what the server refuses is told.
    async fn run(&mut self) -> Result<Result<(), String>> {
        let mut own = match &self.retention.role {
            Some(role) => self.db.connect_as(role).await?,
            None => self.db.connection().await?,
        };
        let done = sqlx::raw_sql(AssertSqlSafe(self.procedure)).execute(&mut own).await;
        Ok(match done {
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(answer)) => {
                // Its message may quote a row.
                Err(format!("SQLSTATE {}", answer.code().unwrap_or_default()))
            }
            Err(error) => return Err(Error::from(error)),
        })
    }

    /// What the first run left, against what it should have.
    fn compare(&self, left: &BTreeMap<String, i64>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let is_there = |row: &&Aged| left.contains_key(&row.digest);
        let of = |age: Age| self.rows.iter().filter(move |row| row.age == age);
        let (all_old, old) = (of(Age::TooOld).count(), of(Age::TooOld).filter(is_there).count());
        let mut evidence = self.steps.clone();
        evidence.extend([self.called("done".into()), self.counted(left)]);
        // Some may be kept for a reason of their own.
        if old == all_old {
            let mut evidence = evidence.clone();
            evidence.push(Evidence::step(
                format!("rows of `{}` that are older than {}", self.table, self.retention.keep),
                format!("{old} of {all_old} are still there"),
            ));
            findings.push(self.found(
                Severity::Error,
                format!("no row of `{}` that is older than {} is removed", self.table, self.retention.keep),
                "does it compare with another time, or another column, or run as a role that sees no rows?",
                evidence,
            ));
        }
        let (all_young, young) = (of(Age::Young).count(), of(Age::Young).filter(is_there).count());
        if young < all_young {
            evidence.push(Evidence::step(
                format!("rows of `{}` that are younger than {}", self.table, self.retention.keep),
                format!("{} of {all_young} are gone", all_young - young),
            ));
            let severity = if self.retention.column.is_some() { Severity::Error } else { Severity::Warning };
            findings.push(self.found(
                severity,
                format!("rows of `{}` are removed that are younger than {}", self.table, self.retention.keep),
                "does it compare with a shorter time, or another column? `column` says how old a row is",
                evidence,
            ));
        }
        findings
    }

    /// The step that calls the procedure.
    fn called(&self, result: String) -> Evidence {
        Evidence::as_role(self.retention.role.as_deref().unwrap_or(&self.admin), self.procedure, result)
    }

    /// The step that counts the rows, as whoever sees them all.
    fn counted(&self, rows: &BTreeMap<String, i64>) -> Evidence {
        let sql = format!("select count(*) from {}", self.table.sql());
        Evidence::as_role(&self.admin, sql, count(rows).to_string())
    }

    fn found(&self, severity: Severity, message: String, help: &str, evidence: Vec<Evidence>) -> Finding {
        finding(self.table, (severity, Class::Mistake), message, help, evidence)
    }

    fn uncovered(&self, reason: &str) -> Finding {
        finding(
            self.table,
            (Severity::Note, Class::Uncovered),
            format!("what removes old rows of `{}` was not tried: {reason}", self.table),
            "name its `column`, or add a fixture with rows of it",
            vec![Evidence::step(format!("rows of `{}`", self.table), reason)],
        )
    }
}

fn finding(
    table: &QualifiedName,
    (severity, class): (Severity, Class),
    message: String,
    help: &str,
    evidence: Vec<Evidence>,
) -> Finding {
    Finding {
        check: RetentionCheck.id().into(),
        class,
        severity,
        subject: Subject::new("table", table.to_string()),
        message,
        help: help.into(),
        evidence,
    }
}

/// The rows by their digests: what is in them goes nowhere.
pub(super) async fn digests(
    connection: &mut PgConnection,
    table: &QualifiedName,
) -> Result<BTreeMap<String, i64>> {
    let sql = format!("select md5(to_jsonb(r)::text), count(*) from {} r group by 1", table.sql());
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || format!("failed to read the rows of `{table}`"))?;
    Ok(rows.into_iter().collect())
}

fn count(rows: &BTreeMap<String, i64>) -> i64 {
    rows.values().sum()
}
