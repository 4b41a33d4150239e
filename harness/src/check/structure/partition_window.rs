//! `structure.partition-window`: whether there is a partition for what comes next, and after that.

use super::window::{self, Partition, Partitioned, Period};
use crate::check::{Check, Context, Example, Explanation, Need, Partitions, Running, Story, Verdict};
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::fixture::rows::{Rows, Wish};
use crate::ident::{QualifiedName, quote_literal};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// A declared window of partitions is whole, and moves on.
pub(in crate::check) struct PartitionWindow;

const ID: &str = "structure.partition-window";

impl Check for PartitionWindow {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "there is a partition for each period of the window, and the procedure makes the next"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every table of `[structure.partitions]`, its procedure is run, if it has one; then there is a \
                     partition other than the default one for each period from `behind` to `ahead`. The partitions ahead \
                     are dropped, as if so much time had passed, and the procedure makes them again; run once more it \
                     changes nothing. Where there is a default partition, a row comes before its partition, and the \
                     procedure gets along with it. The oldest partition can be detached. That somebody runs the \
                     procedure in time is not proved.",
            matters: "On the first of a month nothing can be inserted any more, or everything goes into the default \
                      partition, which then keeps the right one from being made.",
            remedy: "Create partitions well ahead, by a procedure that looks what is missing instead of adding one, and run \
                     it often. Move rows out of the default partition before a new one is attached, or have none.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "the service, some months after the release",
            runs: "insert into events (at, what) values (now(), 'login')",
            gets: "no partition of relation \"events\" found for row",
            because: "the procedure adds the one of next month, and was not run last month",
            fix: "create or replace procedure roll() language plpgsql as $$ begin for n in 0..3 loop execute format( \
                  'create table if not exists %I partition of events for values from (%L) to (%L)', \
                  to_char(month(n), '\"events_\"YYYY_MM'), month(n), month(n + 1)); end loop; end $$; call roll()",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Partitions]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::PARTITION_WINDOW
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// One table under examination.
struct Exam<'a> {
    window: &'a Partitions,
    admin: String,
    name: QualifiedName,
    findings: Vec<Finding>,
    probes: usize,
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut findings = Vec::new();
    let mut probes = 0;
    for (name, declared) in &context.project().structure.partitions {
        // Each has a database of its own, since a procedure may end its transaction.
        let db = context.database().await?;
        let mut control = db.connection().await?;
        let mut exam = Exam {
            window: declared,
            admin: db.server().endpoint().role().to_owned(),
            name: QualifiedName::parse(name),
            findings: Vec::new(),
            probes: 0,
        };
        match window::table(&mut control, &exam.name).await? {
            Ok(table) => exam.pass(&mut control, &table).await?,
            Err(reason) => {
                let sql = format!(
                    "select relkind::text from pg_class where oid = to_regclass({})",
                    quote_literal(&exam.name.sql())
                );
                let kind: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql.as_str()))
                    .fetch_optional(&mut control)
                    .await
                    .attempt(ErrorKind::Database, || format!("failed to look at `{}`", exam.name))?;
                let shown = kind.unwrap_or_else(|| "no row".into());
                let step = vec![Evidence::as_role(&exam.admin, sql, format!("{shown}: {reason}"))];
                let message = format!("`{}` has no window of partitions: {reason}", exam.name);
                exam.find(Severity::Error, message, "partition it, or do not declare a window".into(), step);
            }
        }
        findings.extend(exam.findings);
        probes += exam.probes;
    }
    Ok(Verdict::of(findings).with_measurements([Measurement::count(ID, "probes", probes)]))
}

impl Exam<'_> {
    async fn pass(&mut self, control: &mut PgConnection, table: &Partitioned) -> Result<()> {
        let periods = window::periods(control, self.window).await?;
        // A window of last month is nobody's fault, where somebody moves it on.
        let mut before = Vec::new();
        if let Some(procedure) = &self.window.procedure {
            match self.call(control, procedure).await? {
                Ok(step) => before.push(step),
                Err(step) => {
                    let message = format!("the procedure of `{}` fails: {}", self.name, step.result);
                    let help = format!("mend `{procedure}`: nothing else makes partitions");
                    self.find(Severity::Error, message, help, vec![step]);
                    return Ok(());
                }
            }
        }
        if self.gaps(control, table, &periods, &before, "now").await? {
            return Ok(());
        }
        self.detach_oldest(control, table, &periods).await?;
        if let Some(procedure) = self.window.procedure.clone() {
            self.move_on(control, table, &periods, &procedure).await?;
        }
        Ok(())
    }

    /// Whether a period has no partition of its own.
    async fn gaps(
        &mut self,
        control: &mut PgConnection,
        table: &Partitioned,
        periods: &[Period],
        before: &[Evidence],
        when: &str,
    ) -> Result<bool> {
        let partitions = window::partitions(control, table).await?;
        let (mut missing, mut evidence) = (Vec::new(), before.to_vec());
        for period in periods {
            self.probes += 1;
            let holder = window::holder(control, table, &partitions, period).await?;
            if holder.is_some_and(|partition| !partition.is_default) {
                continue;
            }
            missing.push(period.begins.clone());
            if missing.len() == 1 {
                let (list, shown) = self.listed(control).await?;
                let why = match holder {
                    Some(partition) => {
                        format!("rows of {} go to the default partition {}", period.begins, partition.name)
                    }
                    None => format!("none holds {}", period.middle),
                };
                evidence.push(Evidence::as_role(&self.admin, list, format!("{shown}; {why}")));
            }
        }
        let Some(first) = missing.first().cloned() else { return Ok(false) };
        let count = missing.len();
        let which = match missing.last() {
            Some(last) if count > 1 => format!("{count} periods, from that of {first} to that of {last}"),
            _ => format!("the period of {first}"),
        };
        let help = match &self.window.procedure {
            Some(procedure) => {
                format!("let `{procedure}` make whatever is missing of the window, not only the next")
            }
            None => "create them, and declare the procedure that does: `procedure = \"call …\"`".into(),
        };
        self.find(
            Severity::Error,
            format!("{when} `{}` has no partition for {which}", self.name),
            help,
            evidence,
        );
        Ok(true)
    }

    /// The statement that lists the partitions, and what it gives.
    async fn listed(&self, control: &mut PgConnection) -> Result<(String, String)> {
        let sql = format!(
            "select inhrelid::regclass::text, pg_get_expr(relpartbound, inhrelid) from pg_inherits \
             join pg_class on pg_class.oid = inhrelid where inhparent = {}::regclass order by 1",
            quote_literal(&self.name.sql())
        );
        let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(sql.as_str()))
            .fetch_all(control)
            .await
            .attempt(ErrorKind::Database, || format!("failed to list the partitions of `{}`", self.name))?;
        let rows: Vec<String> = rows.into_iter().map(|(name, bound)| format!("{name}, {bound}")).collect();
        Ok((sql, if rows.is_empty() { "no row".into() } else { rows.join("\n") }))
    }

    /// Lets time pass: what lay ahead is not there yet.
    async fn move_on(
        &mut self,
        control: &mut PgConnection,
        table: &Partitioned,
        periods: &[Period],
        procedure: &str,
    ) -> Result<()> {
        let before = window::partitions(control, table).await?;
        // Where the window ends with the present, that is what has just begun.
        let from = i32::from(self.window.ahead > 0);
        let mut steps = Vec::new();
        let mut dropped: Vec<QualifiedName> = Vec::new();
        for period in periods.iter().filter(|period| period.number >= from) {
            let Some(partition) = window::holder(control, table, &before, period).await? else { continue };
            if dropped.contains(&partition.name) {
                continue;
            }
            let sql = format!("drop table {}", partition.name.sql());
            control
                .execute(AssertSqlSafe(sql.as_str()))
                .await
                .attempt(ErrorKind::Database, || format!("failed to drop `{}`", partition.name))?;
            steps.push(Evidence::as_role(&self.admin, sql, "as if so much time had passed"));
            dropped.push(partition.name.clone());
        }
        let early = match (before.iter().find(|partition| partition.is_default), periods.last()) {
            (Some(default), Some(last)) => self.come_early(control, table, default, last).await?,
            _ => Vec::new(),
        };
        let came_early = !early.is_empty();
        steps.extend(early);
        let severity = if came_early { Severity::Warning } else { Severity::Error };
        match self.call(control, procedure).await? {
            Ok(step) => steps.push(step),
            Err(step) => {
                let why = if came_early { " when a row came before its partition" } else { "" };
                let message = format!(
                    "the procedure of `{}` cannot move the window on{why}: {}",
                    self.name, step.result
                );
                let help = if came_early {
                    "move rows out of the default partition before the new one is attached, or have none"
                        .into()
                } else {
                    format!("mend `{procedure}`")
                };
                steps.push(step);
                self.find(severity, message, help, steps);
                return Ok(());
            }
        }
        let is_short = self.gaps(control, table, periods, &steps, "when time has passed").await?;
        if is_short {
            return Ok(());
        }
        let whole = names(&window::partitions(control, table).await?);
        match self.call(control, procedure).await? {
            Ok(step) if names(&window::partitions(control, table).await?) != whole => {
                steps.push(step);
                let message = format!("the procedure of `{}` changes a window that is whole", self.name);
                self.find(
                    Severity::Warning,
                    message,
                    "let it do nothing where nothing is missing".into(),
                    steps,
                );
            }
            Ok(_) => {}
            Err(step) => {
                let message = format!(
                    "the procedure of `{}` fails on a window that is whole: {}",
                    self.name, step.result
                );
                steps.push(step);
                self.find(
                    Severity::Error,
                    message,
                    "let it do nothing where nothing is missing".into(),
                    steps,
                );
            }
        }
        Ok(())
    }

    /// A row for a period whose partition is not there yet, in the default one.
    async fn come_early(
        &mut self,
        control: &mut PgConnection,
        table: &Partitioned,
        default: &Partition,
        period: &Period,
    ) -> Result<Vec<Evidence>> {
        let value = format!("'{}'::timestamptz::{}", period.middle, table.type_name);
        let wish = Wish { values: [(table.column.clone(), value)].into(), ..Wish::default() };
        let added = Rows::read(control).await?.add(control, &table.name, &wish).await?;
        Ok(match added {
            Ok(steps) => steps
                .into_iter()
                .map(|step| {
                    Evidence::as_role(&self.admin, step.sql, format!("done: it goes to {}", default.name))
                })
                .collect(),
            Err(_) => Vec::new(),
        })
    }

    /// Takes the oldest partition off, and puts it back.
    async fn detach_oldest(
        &mut self,
        control: &mut PgConnection,
        table: &Partitioned,
        periods: &[Period],
    ) -> Result<()> {
        let partitions = window::partitions(control, table).await?;
        let Some(oldest) = periods.first() else { return Ok(()) };
        let Some(partition) = window::holder(control, table, &partitions, oldest).await? else {
            return Ok(());
        };
        let sql = format!("alter table {} detach partition {}", table.name.sql(), partition.name.sql());
        control.execute("begin").await?;
        let done = control.execute(AssertSqlSafe(sql.as_str())).await;
        control.execute("rollback").await?;
        let code = match done {
            Ok(_) => return Ok(()),
            Err(sqlx::Error::Database(answer)) => answer.code().unwrap_or_default().into_owned(),
            Err(lost) => return Err(lost.into()),
        };
        let evidence = vec![
            Evidence::as_role(&self.admin, "begin", ""),
            Evidence::as_role(&self.admin, sql, format!("SQLSTATE {code}")),
            Evidence::as_role(&self.admin, "rollback", ""),
        ];
        let message = format!("the oldest partition of `{}` cannot be detached", self.name);
        self.find(
            Severity::Warning,
            message,
            "remove what holds it: a foreign key to it, or a view".into(),
            evidence,
        );
        Ok(())
    }

    /// Runs the project's procedure; the step, on either side.
    async fn call(&mut self, control: &mut PgConnection, sql: &str) -> Result<Result<Evidence, Evidence>> {
        self.probes += 1;
        let step = |result: String| Evidence::as_role(&self.admin, sql, result);
        Ok(match sqlx::raw_sql(AssertSqlSafe(sql)).execute(control).await {
            Ok(_) => Ok(step("done".into())),
            Err(sqlx::Error::Database(answer)) => {
                Err(step(format!("SQLSTATE {}", answer.code().unwrap_or_default())))
            }
            Err(lost) => return Err(lost.into()),
        })
    }

    fn find(&mut self, severity: Severity, message: String, help: String, evidence: Vec<Evidence>) {
        self.findings.push(Finding {
            check: ID.into(),
            class: Class::Mistake,
            severity,
            subject: Subject::new("table", self.name.to_string()),
            message,
            help,
            evidence,
        });
    }
}

fn names(partitions: &[Partition]) -> Vec<QualifiedName> {
    partitions.iter().map(|partition| partition.name.clone()).collect()
}
