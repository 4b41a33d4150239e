//! Running the battery.

use super::config::Config;
use crate::check::{Check, Context, Project, Registry, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{CheckRun, Report};
use crate::secret::Secret;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How many checks run at a time, where nobody says it. More than there are processors: they wait for the server, and
/// for what one of them does for all.
const JOBS: usize = 8;

/// How long one check may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(300);

/// A run of the battery, described by value.
pub struct Suite<'a> {
    config: &'a Config,
    registry: Registry,
    only: Vec<String>,
    program: Option<PathBuf>,
    live: Option<Secret>,
    is_live_alone: bool,
    live_probes: bool,
    jobs: usize,
    deadline: Duration,
    watch: Box<dyn Fn(Progress) + 'a>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The check that ended last.
    pub ended: Option<&'static str>,
    /// How many have ended.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

impl<'a> Suite<'a> {
    /// The battery for the project that `config` describes.
    pub fn new(config: &'a Config) -> Self {
        Suite {
            config,
            registry: Registry::standard(),
            only: Vec::new(),
            program: None,
            live: None,
            is_live_alone: false,
            live_probes: false,
            jobs: JOBS,
            deadline: CHECK_DEADLINE,
            watch: Box::new(|_| {}),
        }
    }

    /// Runs checks of the caller's own.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Runs only the checks that these name; see [`Registry::select`].
    #[must_use]
    pub fn with_only(mut self, only: &[String]) -> Self {
        self.only = only.to_vec();
        self
    }

    /// Says where the program `pgharness` lies: some checks need processes of it.
    #[must_use]
    pub fn with_program(mut self, program: Option<PathBuf>) -> Self {
        self.program = program;
        self
    }

    /// Names a live database to compare with, by its URL; it is only read.
    #[must_use]
    pub fn with_live(mut self, url: Option<Secret>) -> Self {
        self.live = url;
        self
    }

    /// Looks at this live database, by its URL, and at no other: checks that cannot are skipped. It is only read.
    #[must_use]
    pub fn on_live(self, url: Secret) -> Self {
        Suite { is_live_alone: true, ..self.with_live(Some(url)) }
    }

    /// Has statements that write tried on the live database too, within transactions that are rolled back.
    #[must_use]
    pub fn with_live_probes(mut self, are_wanted: bool) -> Self {
        self.live_probes = are_wanted;
        self
    }

    /// Runs at most so many checks at a time, at least one; eight if not set. One that does several things at a time does no
    /// more than so many either.
    #[must_use]
    pub fn with_jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// Gives up on a check after this long; five minutes if not set.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Is told how far the run is.
    #[must_use]
    pub fn with_watch(mut self, watch: impl Fn(Progress) + 'a) -> Self {
        self.watch = Box::new(watch);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// `only` names no check, or the configuration something that is not there. A check that breaks is no
    /// error: the report says so.
    pub async fn run(self) -> Result<Report> {
        let started = Instant::now();
        let selected = self.registry.select(&self.only, &self.config.checks.opt_in)?;
        let live = self.live.clone();
        let project = Project { live, live_probes: self.live_probes, ..self.config.project()? };
        let mut context = Context::new(project).with_server(self.config.server()?).with_jobs(self.jobs);
        if let Some(program) = &self.program {
            context = context.with_program(program);
        }
        let total = selected.len();
        let mut runs: Vec<CheckRun> = Vec::with_capacity(total);
        (self.watch)(Progress { ended: None, done: 0, total });
        let mut running = stream::iter(selected)
            .map(|check| async {
                let run = if self.is_live_alone && !check.reads_live() {
                    not_on_live(check)
                } else {
                    run_one(check, &context, self.deadline).await
                };
                (check.id(), run)
            })
            .buffer_unordered(self.jobs);
        while let Some((id, run)) = running.next().await {
            runs.push(run);
            (self.watch)(Progress { ended: Some(id), done: runs.len(), total });
        }
        drop(running);
        // A server that is gone by now was lost by a check, which says so.
        let postgres = context.postgres().await.unwrap_or_default();
        Ok(Report::new(postgres, runs, &self.config.allow, millis_since(started)))
    }
}

impl std::fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suite")
            .field("registry", &self.registry)
            .field("only", &self.only)
            .field("program", &self.program)
            .field("live", &self.live)
            .field("jobs", &self.jobs)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Runs the checks that `only` names, or all; see [`Registry::select`].
///
/// # Errors
/// As [`Suite::run`].
pub async fn run(config: &Config, only: &[String]) -> Result<Report> {
    Suite::new(config).with_only(only).run().await
}

/// As [`run`], with checks of the caller's own.
///
/// # Errors
/// As there.
pub async fn run_with(registry: Registry, config: &Config, only: &[String]) -> Result<Report> {
    Suite::new(config).with_registry(registry).with_only(only).run().await
}

async fn run_one(check: &dyn Check, context: &Context, deadline: Duration) -> CheckRun {
    let started = Instant::now();
    let looking = async {
        match context.lacks(check.needs()).await? {
            Some(reason) => Ok(Verdict::skipped(reason)),
            None => check.run(context).await,
        }
    };
    let verdict = match tokio::time::timeout(deadline, AssertUnwindSafe(looking).catch_unwind()).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(panic)) => Err(panicked(&*panic)),
        Err(_) => Err(Error::new(ErrorKind::Database, format!("it did not end within {deadline:?}"))),
    };
    CheckRun { id: check.id().to_owned(), millis: millis_since(started), verdict }
}

/// A check that makes databases of its own, which nobody wants on a live server.
fn not_on_live(check: &dyn Check) -> CheckRun {
    let verdict = Verdict::skipped("it looks at databases of its own, and at no live one");
    CheckRun { id: check.id().to_owned(), millis: 0, verdict: Ok(verdict) }
}

/// A check that panics is a defect of ours; the others go on.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it does not say why".into());
    Error::new(ErrorKind::Environment, format!("it panicked: {said}"))
        .with_help("this is a defect of pgharness, not of the project")
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Example, Explanation, Need, Running};
    use crate::finding::{Class, Finding, Outcome, Severity, Subject};
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
            class: Class::Mistake,
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
            check("a.lacks", &[Need::Roles, Need::Matrix], finds),
            check("a.panics", &[], || panic!("no {}", "luck")),
        ])
    }

    #[tokio::test]
    async fn each_check_ends_in_its_own_way() {
        let config = Config::default_for(Path::new("."));
        let report = run_with(registry(), &config, &[]).await.unwrap();
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
                ("a.lacks", &Outcome::Skipped, Some("needs `[roles]` and `[access.matrix]`")),
                (
                    "a.panics",
                    &Outcome::Skipped,
                    Some(
                        "could not run: it panicked: no luck\n  help: this is a defect of pgharness, not of the project"
                    )
                ),
                ("a.passes", &Outcome::Passed, None),
            ]
        );
        assert_eq!(report.findings.len(), 1);
        assert_eq!(report.outcome, Conclusion::Findings);
    }

    #[tokio::test]
    async fn a_check_that_does_not_end_is_given_up_on() {
        struct Endless;
        impl Check for Endless {
            fn id(&self) -> &'static str {
                "a.endless"
            }
            fn summary(&self) -> &'static str {
                ""
            }
            fn explain(&self) -> Explanation {
                Explanation { proves: "", matters: "", remedy: "" }
            }
            fn examples(&self) -> &'static [Example] {
                &[]
            }
            fn run<'a>(&'a self, _: &'a Context) -> Running<'a> {
                Box::pin(std::future::pending())
            }
        }
        let config = Config::default_for(Path::new("."));
        let registry = Registry::of(vec![Box::new(Endless)]);
        let suite = Suite::new(&config).with_registry(registry).with_deadline(Duration::from_millis(5));
        let report = suite.run().await.unwrap();
        assert_eq!(report.outcome, Conclusion::Incomplete);
        assert_eq!(report.checks[0].reason.as_deref(), Some("could not run: it did not end within 5ms"));
    }

    #[tokio::test]
    async fn progress_is_told() {
        let seen = std::cell::RefCell::new(Vec::new());
        let config = Config::default_for(Path::new("."));
        let suite = Suite::new(&config).with_registry(registry()).with_only(&["a.passes".into()]);
        suite.with_watch(|progress| seen.borrow_mut().push(progress)).run().await.unwrap();
        let ended = |ended, done| Progress { ended, done, total: 1 };
        assert_eq!(*seen.borrow(), [ended(None, 0), ended(Some("a.passes"), 1)]);
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

        let report = run_with(registry(), &config, &["a.finds".into()]).await.unwrap();
        assert_eq!(report.outcome, Conclusion::Clean);
        assert_eq!(report.allowed.len(), 1);

        let report = run_with(registry(), &config, &["a.passes".into()]).await.unwrap();
        assert_eq!(report.findings.len(), 1);
        assert_eq!(
            report.findings[0].help,
            format!("remove it from `{}` line 5, or mend its subject", path.display())
        );
    }
}
