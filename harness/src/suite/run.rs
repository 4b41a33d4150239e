//! Running the battery.

use super::config::Config;
use crate::check::{Check, Context, Registry};
use crate::error::Result;
use crate::report::{CheckRun, Report};
use futures_util::stream::{self, StreamExt};
use std::time::Instant;

/// How many checks run at a time.
const CHECKS_MAX: usize = 8;

/// Runs the checks that `only` names, or all; see [`Registry::select`].
///
/// # Errors
/// `only` names no check, or `config` something that is not there. A check that breaks is no error: the
/// report says so.
pub async fn run(config: &Config, only: &[String]) -> Result<Report> {
    run_with(&Registry::standard(), config, only).await
}

/// As [`run`], with checks of the caller's own.
///
/// # Errors
/// As there.
pub async fn run_with(registry: &Registry, config: &Config, only: &[String]) -> Result<Report> {
    let started = Instant::now();
    let selected = registry.select(only, &config.checks.opt_in)?;
    let context = Context::new(config.project()?);
    let runs: Vec<CheckRun> = stream::iter(selected)
        .map(|check| run_one(check, &context))
        .buffer_unordered(CHECKS_MAX)
        .collect()
        .await;
    Ok(Report::new(None, runs, &config.allow, millis_since(started)))
}

async fn run_one(check: &dyn Check, context: &Context) -> CheckRun {
    let started = Instant::now();
    let verdict = match context.lacks(check.needs()) {
        Some(reason) => Ok(crate::check::Verdict::skipped(reason)),
        None => check.run(context).await,
    };
    CheckRun { id: check.id().to_owned(), millis: millis_since(started), verdict }
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Capability, Example, Explanation, Need, Running, Verdict};
    use crate::error::Error;
    use crate::finding::{Finding, Outcome, Severity, Subject};
    use crate::report::Conclusion;
    use std::path::Path;

    struct Scripted {
        id: &'static str,
        needs: &'static [Need],
        says: fn() -> Result<Verdict>,
    }

    impl Check for Scripted {
        fn id(&self) -> &'static str {
            self.id
        }

        fn summary(&self) -> &'static str {
            ""
        }

        fn explain(&self) -> Explanation {
            Explanation { proves: "", matters: "", remedy: "" }
        }

        fn needs(&self) -> &'static [Need] {
            self.needs
        }

        fn examples(&self) -> &'static [Example] {
            &[]
        }

        fn run<'a>(&'a self, _: &'a Context) -> Running<'a> {
            Box::pin(async move { (self.says)() })
        }
    }

    fn finds() -> Result<Verdict> {
        Ok(Verdict::of(vec![Finding {
            check: "a.finds".into(),
            severity: Severity::Error,
            subject: Subject::new("table", "public.x"),
            message: String::new(),
            help: String::new(),
            evidence: vec![],
        }]))
    }

    fn registry() -> Registry {
        let check = |id, needs, says| Box::new(Scripted { id, needs, says }) as Box<dyn Check>;
        Registry::of(vec![
            check("a.finds", &[], finds),
            check("a.passes", &[], || Ok(Verdict::of(vec![]))),
            check("a.breaks", &[], || Err(Error::server("lost"))),
            check("a.lacks", &[Need::Roles, Need::Can(Capability::Superuser)], finds),
        ])
    }

    #[tokio::test]
    async fn each_check_ends_in_its_own_way() {
        let config = Config::default_for(Path::new("."));
        let report = run_with(&registry(), &config, &[]).await.unwrap();
        let ended: Vec<_> = report
            .checks
            .iter()
            .map(|check| (check.id.as_str(), &check.outcome, check.reason.as_deref()))
            .collect();
        assert_eq!(
            ended,
            [
                ("a.breaks", &Outcome::Skipped, Some("could not run: lost")),
                ("a.finds", &Outcome::Failed, None),
                ("a.lacks", &Outcome::Skipped, Some("needs `[roles]` and a superuser")),
                ("a.passes", &Outcome::Passed, None),
            ]
        );
        assert_eq!(report.findings.len(), 1);
        assert_eq!(report.outcome, Conclusion::Findings);
    }

    #[tokio::test]
    async fn allowances_of_the_file_silence_and_those_of_checks_not_selected_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgharness.toml");
        let allow = |check| {
            format!("[[allow]]\ncheck = \"{check}\"\nsubject = \"public.*\"\nreason = \"so be it\"\n")
        };
        std::fs::write(&path, allow("a.finds") + &allow("a.passes")).unwrap();
        let config = Config::load_with(&path, &registry()).unwrap();

        let report = run_with(&registry(), &config, &["a.finds".into()]).await.unwrap();
        assert_eq!(report.outcome, Conclusion::Clean);
        assert_eq!(report.allowed.len(), 1);

        let report = run_with(&registry(), &config, &["a.passes".into()]).await.unwrap();
        assert_eq!(report.findings.len(), 1);
        assert_eq!(
            report.findings[0].help,
            format!("remove it from `{}` line 5, or mend its subject", path.display())
        );
    }
}
