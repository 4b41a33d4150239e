//! `migration.immutable`: what may be applied somewhere stays as it is.

use super::lock_file::LockFile;
use super::recorded::{Breach, Late, Recorded, breaches, late};
use crate::check::databases::absolute;
use crate::check::migrator::{Migrator, shown_path};
use crate::check::revision::Revision;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::migration::{Format, Migration, Migrations};
use std::path::{Path, PathBuf};

/// Files around a folder of migrations that decide how it is read.
const SURROUNDINGS: &[&str] = &["sqlx.toml", "flyway.conf", "flyway.toml", "conf/flyway.conf"];

/// An applied migration stays as it is.
pub(in crate::check) struct Immutable;

impl Check for Immutable {
    fn id(&self) -> &'static str {
        "migration.immutable"
    }

    fn summary(&self) -> &'static str {
        "no migration that may be applied somewhere was edited, removed, renumbered or overtaken"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each migration that has a line in the file of `migrations.lock`, or that the revision of \
                     `migrations.since` has (git is only read), is there with the same version and the same checksum: \
                     that of its own tool, so that an edit counts where the tool would refuse it (sqlx counts every \
                     byte, Flyway no line ends); where the tool keeps none, that of its statements. Nothing new \
                     stands before them: a warning where the tool applies it late, an error where it refuses or \
                     never applies it. Flyway's repeatable migrations are meant to be edited. `pgharness lock` \
                     adds lines for what has none.",
            matters: "An applied file that is edited is refused by the next deployment, in production first; or, by a \
                      tool without checksums, it is never noticed, and databases made before and after it differ for \
                      good. One that slips in before applied ones comes in another order there than in every test.",
            remedy: "Restore the file, and put the change into a new migration behind all others. Where it was applied \
                     nowhere yet, `pgharness lock --force` writes the file anew, and the pull request shows it.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Locked]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.immutable":
            "bad_edited.sql", "bad_overtaken.sql", "bad_removed.sql", "bad_renumbered.sql", "good.sql",
            "good_line_ends.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let migrator = Migrator::of(project)?;
    let now = migrator.migrations();
    if now.command_line().is_some() {
        return Ok(Verdict::skipped(
            "which files a command applies, and in which order, is known to it alone",
        ));
    }
    let mut findings = Vec::new();
    let mut unwritten = None;
    if let Some(file) = &project.migrations.lock {
        let shown = shown_path(project, &absolute(file)?);
        match LockFile::of(project, now)? {
            None => unwritten = Some(format!("`{shown}` is not there: `pgharness lock` writes it")),
            Some(locked) => {
                let format = locked.format;
                for breach in breaches(&locked.lines, now) {
                    let evidence = vec![lines(&breach, &shown)];
                    findings.push(finding(format, &breach, &format!("`{shown}`"), evidence));
                }
            }
        }
    }
    if let Some(name) = project.since() {
        let revision = Revision::of(project, name).await?;
        let then = Recorded::all(&migrations_of(&revision, now).await?);
        for breach in breaches(&then, now) {
            // Both may say the same of it.
            let place = place(now, &breach);
            if findings.iter().any(|known: &Finding| known.subject.name == subject(&breach)) {
                continue;
            }
            let (command, said) = revision.difference(&place).await?;
            let evidence = vec![Evidence::step(command, said), lines(&breach, revision.name())];
            let whose = format!("revision `{}`", revision.name());
            findings.push(finding(now.format().unwrap_or_default(), &breach, &whose, evidence));
        }
    } else if let Some(reason) = unwritten {
        return Ok(Verdict::skipped(reason));
    }
    let verdict = Verdict::of(findings);
    Ok(match unwritten {
        Some(reason) => verdict.with_remark(reason),
        None => verdict,
    })
}

/// The migrations of a revision; none where it had no such folder.
pub(super) async fn migrations_of(revision: &Revision, now: &Migrations) -> Result<Migrations> {
    let dir = now.dir();
    let around = revision.folders_to(dir);
    let mut paths: Vec<PathBuf> =
        around.iter().flat_map(|folder| SURROUNDINGS.iter().map(|name| folder.join(name))).collect();
    paths.push(dir.to_owned());
    let export = revision.export(&paths).await?;
    let then = export.path(dir)?;
    if !then.is_dir() {
        return Ok(now.first(0));
    }
    Migrations::load(then, now.format().unwrap_or_default())
}

/// The name that a finding is about.
fn subject<'a>(breach: &Breach<'a>) -> &'a str {
    match breach {
        Breach::Edited { then, .. } | Breach::Removed { then } | Breach::Renumbered { then, .. } => {
            &then.name
        }
        Breach::Overtaken { by, .. } => by.name(),
    }
}

/// What a difference is to be shown of.
fn place(now: &Migrations, breach: &Breach<'_>) -> PathBuf {
    match breach {
        Breach::Edited { now, .. } => now.path().to_owned(),
        Breach::Removed { then } | Breach::Renumbered { then, .. } => now.dir().join(Path::new(&then.name)),
        Breach::Overtaken { by, .. } => by.path().to_owned(),
    }
}

/// The line that was recorded, and the one that would be now.
fn lines(breach: &Breach<'_>, place: &str) -> Evidence {
    let shown = |sign, one: &Recorded| format!("{sign} {}  {}  {}", one.checksum, one.version, one.name);
    let of = |migration: &Migration| shown('+', &Recorded::of(migration));
    let seen = match breach {
        Breach::Edited { then, now } | Breach::Renumbered { then, now } => {
            format!("{}\n{}", shown('-', then), of(now))
        }
        Breach::Removed { then } => shown('-', then),
        Breach::Overtaken { then, by } => format!("{}\n{}", of(by), shown(' ', then)),
    };
    Evidence::step(format!("{place}, and what there is now"), seen)
}

fn finding(format: Format, breach: &Breach<'_>, whose: &str, evidence: Vec<Evidence>) -> Finding {
    let restore = "restore the file, and put the change into a new migration behind all others";
    let (severity, message, help) = match breach {
        Breach::Edited { then, now } if then.name != now.name() && now.fingerprint() == then.checksum => {
            (Severity::Error, format!("`{}` of {whose} is called `{}` now", then.name, now.name()), restore)
        }
        Breach::Edited { then, .. } => {
            (Severity::Error, format!("`{}` was edited: {whose} has another checksum", then.name), restore)
        }
        Breach::Removed { then } => {
            (Severity::Error, format!("`{}` of {whose} is gone", then.name), "restore the file")
        }
        Breach::Renumbered { then, now } => (
            Severity::Error,
            format!("`{}` of {whose} has another number: it is `{}` now", then.name, now.name()),
            "give it its number back; where both were applied somewhere, keep both",
        ),
        Breach::Overtaken { then, by } => {
            let (severity, what) = match late(format) {
                Late::Applies => (Severity::Warning, "is applied late where that one is applied"),
                Late::Refuses => (Severity::Error, "is refused where that one is applied"),
                Late::Forgets => (Severity::Error, "is never applied where that one is applied"),
            };
            let message = format!("`{}` stands before `{}` of {whose}, and {what}", by.name(), then.name);
            (severity, message, "give it a number behind all others")
        }
    };
    Finding {
        check: Immutable.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("migration", subject(breach)),
        message,
        help: help.into(),
        evidence,
    }
}
