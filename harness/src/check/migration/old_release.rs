//! `migration.old-release`: the release that still runs goes on working.

use super::answer::{Answer, Shift};
use super::crop::Crop;
use super::release::{Release, Sent};
use super::transcript::transcript;
use crate::check::walk::{NO_STEPS, Step, Walk};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::database::TestDb;
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::QualifiedName;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::collections::BTreeSet;

/// The SQLSTATE of a row without a value for a column that needs one.
const NOT_NULL: &str = "23502";

/// What the release before this one sends still works, after each migration that it does not know.
pub(in crate::check) struct OldReleaseCheck;

impl Check for OldReleaseCheck {
    fn id(&self) -> &'static str {
        "migration.old-release"
    }

    fn summary(&self) -> &'static str {
        "what the release before this one sends still works after each new migration"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The statements of the release before this one can be prepared after each migration that it does not \
                     know, and give the same columns with the same types. Its statements are those of `queries/` and \
                     of sqlx's `.sqlx/` in the revision of `migrations.since` (or `checks.old_release`), and in the \
                     files of `migrations.statements` (`wire::Record::statements` writes one of what passed a proxy); its migrations are those of that revision, or else of \
                     `migrations.lock`. Rows that the schema of that release takes are then inserted \
                     with the columns that they had, and rolled back: a column that every insert now lacks is an \
                     error, a rule that refuses rows of before a warning. Where no release is named, each migration is held \
                     against what was before it, with the statements that there are now, and findings are warnings. \
                     What a step tagged by `migrations.contract_tag` takes away is a note. Statements are not run.",
            matters: "While a deployment is under way both releases run, and the old one may come back. A column that was \
                      renamed or retyped under it fails each of its requests, for as long as that takes.",
            remedy: "Expand first, contract a release later: add the new column, write both, move readers over, and \
                     drop the old one in a migration that carries the tag. Columns that are needed get a default.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.old-release":
            "bad_dropped.sql", "bad_required.sql", "bad_type.sql", "bad_undeclared.sql", "good.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

/// How a migration breaks the release before it.
struct Breakage {
    severity: Severity,
    message: String,
    evidence: Evidence,
}

async fn judge(context: &Context) -> Result<Verdict> {
    let Some(walk) = context.walk().await? else { return Ok(Verdict::skipped(NO_STEPS)) };
    let release = Release::of(context.project(), walk.migrator.migrations()).await?;
    if release.name.is_none() && release.statements.is_empty() {
        return Ok(Verdict::skipped(
            "needs statements (`queries/`, `.sqlx/`, `migrations.statements`), or a release to compare with \
             (`migrations.since`, `migrations.lock`)",
        ));
    }
    let is_new = |step: &Step<'_>| !release.has(&step.migration.version.to_string());
    let Some(first) = walk.steps().position(|step| is_new(&step)) else {
        return Ok(Verdict::skipped("there is no migration that the release before this one does not know"));
    };
    let db = context.vacant().await?;
    if first > 0 {
        walk.migrator.first(first).apply(&db).await?;
    }
    let mut connection = db.connection().await?;
    let mut known: Vec<Option<Answer>> = vec![None; release.statements.len()];
    learn(&mut connection, &release.statements, &mut known).await?;
    let mut writes = match &release.name {
        Some(_) => writes(context, walk, first, &mut connection).await?,
        None => Vec::new(),
    };
    let count = (known.iter().flatten().count(), writes.len());
    let unknown = release.statements.len() - count.0;
    let mut findings = Vec::new();
    for step in walk.steps().skip(first) {
        let _ = connection.close().await;
        walk.migrator.first(step.number + 1).apply(&db).await?;
        connection = db.connection().await?;
        if !is_new(&step) {
            continue;
        }
        let mut broken = shifted(&mut connection, &release.statements, &mut known, &db).await?;
        broken.extend(refused(&mut connection, &mut writes, &db).await?);
        findings.extend(broken.into_iter().map(|one| finding(context, walk, &release, &step, one)));
        if release.name.is_none() {
            // They are of now: what they need may only come.
            learn(&mut connection, &release.statements, &mut known).await?;
        }
    }
    let _ = connection.close().await;
    let figure = |name: &str, count: usize| Measurement::count(OldReleaseCheck.id(), name, count);
    let known = if release.name.is_some() { count.0 } else { known.iter().flatten().count() };
    let verdict = Verdict::of(findings)
        .with_measurements([figure("statements", known), figure("tables written", count.1)]);
    Ok(match (&release.name, unknown) {
        (Some(name), 1..) => {
            verdict.with_remark(format!("{unknown} statements cannot be prepared on the schema of {name}"))
        }
        (Some(_), 0) if release.statements.is_empty() => verdict.with_remark(
            "there are no statements to prepare: neither `queries/`, `.sqlx/` nor `migrations.statements`",
        ),
        _ => verdict,
    })
}

/// Asks for what is not known yet, as far as it can be prepared.
async fn learn(
    connection: &mut PgConnection,
    statements: &[Sent],
    known: &mut [Option<Answer>],
) -> Result<()> {
    for (sent, known) in statements.iter().zip(known).filter(|(_, known)| known.is_none()) {
        *known = Answer::of(connection, &sent.sql).await?.ok();
    }
    Ok(())
}

/// The statements that are not what they were; of them the new state holds from then on.
async fn shifted(
    connection: &mut PgConnection,
    statements: &[Sent],
    known: &mut [Option<Answer>],
    db: &TestDb,
) -> Result<Vec<Breakage>> {
    let mut broken = Vec::new();
    for (sent, known) in statements.iter().zip(known) {
        let Some(then) = known.as_ref() else { continue };
        let now = Answer::of(connection, &sent.sql).await?;
        let (severity, message, seen) = match &now {
            Err(refusal) => (Severity::Error, "cannot be prepared any more", refusal.clone()),
            Ok(now) => match then.shift(now) {
                None => continue,
                Some(Shift::Other(seen)) => (Severity::Error, "gives something else", seen),
                Some(Shift::More(seen)) => {
                    (Severity::Warning, "gives more columns: who has it prepared gets an error once", seen)
                }
            },
        };
        broken.push(Breakage {
            severity,
            message: format!("`{}` {message}", sent.name),
            evidence: Evidence::as_role(
                db.server().endpoint().role(),
                format!("prepare old as\n{}\n;", sent.sql.trim()),
                seen,
            ),
        });
        *known = now.ok();
    }
    Ok(broken)
}

/// A table, and the statements that add a row of the release before this one to it.
struct Write {
    table: String,
    statements: Vec<String>,
}

/// The rows that the schema of the release takes, as it writes them.
async fn writes(
    context: &Context,
    walk: &Walk,
    first: usize,
    connection: &mut PgConnection,
) -> Result<Vec<Write>> {
    // Elsewhere: the migrations are to find no rows here, which is another check's.
    let field = context.vacant().await?;
    if first > 0 {
        walk.migrator.first(first).apply(&field).await?;
    }
    let mut sower = field.connection().await?;
    let mut crop = Crop::default();
    crop.sow(&mut sower, &walk.migrator).await?;
    let _ = sower.close().await;
    let mut writes = Vec::new();
    for table in crop.names() {
        let statements = crop.statements(&BTreeSet::from([table.clone()])).into_iter().map(str::to_owned);
        let write = Write { statements: statements.collect(), table };
        // Some can only be had in the place where they were tried.
        if !write.statements.is_empty() && try_write(connection, &write).await?.is_none() {
            writes.push(write);
        }
    }
    Ok(writes)
}

/// A statement that was refused, with those before it.
struct Refusal {
    /// Its place among them.
    at: usize,
    code: String,
    said: String,
}

/// What becomes of `write`; all is rolled back.
async fn try_write(connection: &mut PgConnection, write: &Write) -> Result<Option<Refusal>> {
    connection.execute("begin").await?;
    let mut refusal = None;
    for (at, sql) in write.statements.iter().enumerate() {
        match connection.execute(AssertSqlSafe(sql.as_str())).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(answer)) => {
                let code = answer.code().unwrap_or_default().into_owned();
                refusal = Some(Refusal { at, code, said: answer.message().to_owned() });
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    connection.execute("rollback").await?;
    Ok(refusal)
}

/// The writes that are refused; they are not tried again.
async fn refused(
    connection: &mut PgConnection,
    writes: &mut Vec<Write>,
    db: &TestDb,
) -> Result<Vec<Breakage>> {
    let (mut broken, mut left) = (Vec::new(), Vec::new());
    for write in std::mem::take(writes) {
        let Some(Refusal { at, code, said }) = try_write(connection, &write).await? else {
            left.push(write);
            continue;
        };
        let own = format!("insert into {} ", QualifiedName::parse(&write.table).sql());
        // The row of a parent is told of its own table.
        if !write.statements.get(at).is_some_and(|sql| sql.contains(&own)) {
            continue;
        }
        let (severity, what) = match code == NOT_NULL {
            true => (Severity::Error, "refuses every row without what is new"),
            false => (Severity::Warning, "refuses a row that it took before"),
        };
        let tried: Vec<String> = write.statements.iter().take(at + 1).map(|sql| format!("{sql};")).collect();
        broken.push(Breakage {
            severity,
            message: format!("`{}` {what}", write.table),
            evidence: Evidence::as_role(
                db.server().endpoint().role(),
                format!("begin;\n{}\nrollback;", tried.join("\n")),
                format!("{said} ({code})"),
            ),
        });
    }
    *writes = left;
    Ok(broken)
}

fn finding(
    context: &Context,
    walk: &Walk,
    release: &Release,
    step: &Step<'_>,
    breakage: Breakage,
) -> Finding {
    let Breakage { severity, message, evidence } = breakage;
    let tag = &context.project().migrations.contract_tag;
    let name = step.migration.name();
    let (severity, help) = match (step.migration.has_comment(tag), &release.name) {
        (true, _) => (Severity::Note, format!("`{tag}` allows it: the release before must not run any more")),
        (false, None) => (
            severity.max(Severity::Warning),
            "leave the old for a release; `migrations.since` says which migrations are new".to_owned(),
        ),
        (false, Some(_)) => {
            (severity, format!("leave the old for a release, and take it away in a file that says `{tag}`"))
        }
    };
    Finding {
        check: OldReleaseCheck.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("migration", name),
        message: format!("after `{name}`, {message}"),
        help,
        evidence: vec![
            Evidence::as_role(
                walk.migrator.role(&walk.db),
                transcript(context.project(), step.migration),
                "applied",
            ),
            evidence,
        ],
    }
}
