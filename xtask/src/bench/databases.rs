//! Starts and clones.

use super::figure::Figure;
use super::{Options, caps};
use pgharness::process::{Program, User};
use pgharness::sqlx::{self, AssertSqlSafe, Connection, Executor};
use pgharness::wait::{self, Look};
use pgharness::{Error, ErrorKind, Result, Template};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A place of its own: what others run is neither used nor disturbed.
pub(super) struct Place {
    dir: tempfile::TempDir,
}

/// What one process said.
struct Sample {
    first_query_ms: f64,
    template: String,
}

impl Place {
    pub(super) fn new() -> Result<Place> {
        // In memory where there is some: a data directory lies there by default too.
        let root =
            if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("pgb-").tempdir_in(root).map_err(|error| {
            Error::new(ErrorKind::Environment, "failed to create a folder").with_source(error)
        })?;
        let place = Place { dir };
        for name in ["cache", "roots", "workspace/migrations"] {
            make(&place.path(name))?;
        }
        if let Some(user) = User::for_server() {
            user.own(&place.path("roots"))?;
            allow_passage(place.dir.path())?;
        }
        caps::write_migrations(&place.path("workspace/migrations"))?;
        fs::write(place.path("workspace/Cargo.lock"), "").map_err(failed)?;
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that works in this place.
    pub(super) fn program(&self, arguments: &[&str]) -> Result<Program> {
        let ours = std::env::current_exe().map_err(failed)?;
        Ok(Program::new(ours)
            .args(arguments)
            .arg(self.path("workspace"))
            .arg(self.path("workspace/migrations"))
            .env("PGHARNESS_CACHE", self.path("cache"))
            .env("PGHARNESS_DATA_ROOTS", self.path("roots"))
            .env("PGHARNESS_GRACE_MS", "0"))
    }

    fn first_query(&self) -> Result<Sample> {
        let finished =
            self.program(&["first-query"])?.run()?.check(ErrorKind::Server, || "a sample failed".into())?;
        let text = finished.text();
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [_, first_query_ms, _, _, template] = parts[..] else {
            return Err(Error::new(ErrorKind::Server, format!("a sample said `{text}`")));
        };
        self.wait_until_stopped()?;
        Ok(Sample {
            first_query_ms: first_query_ms.parse().unwrap_or(f64::NAN),
            template: template.to_owned(),
        })
    }

    fn wait_until_stopped(&self) -> Result<()> {
        wait::until("the server to stop", Duration::from_secs(30), || {
            let left = self.entries("pgh-").len();
            Ok(if left == 0 { Look::Ready(()) } else { Look::NotYet(format!("{left} there")) })
        })
    }

    fn entries(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("roots")).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
            .collect()
    }

    fn forget_parked(&self) {
        for parked in self.entries("pgp-") {
            let _ = fs::remove_dir_all(parked);
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Environment, "failed to prepare a bench").with_source(error)
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(failed)
}

/// The user that the server runs as must reach the folders within.
fn allow_passage(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).map_err(failed)
}

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if options.wants("start.") {
        figures.extend(starts(options.runs)?);
    }
    if options.wants("get.") {
        figures.extend(gets(options.runs * 4)?);
    }
    Ok(figures)
}

/// From a process that finds no server to its first answered query: with `initdb` cached; and with the data that
/// the last run parked, in which the template is.
fn starts(runs: usize) -> Result<Vec<Figure>> {
    let place = Place::new()?;
    let cold = place.first_query()?;
    let (mut cached, mut parked, mut rebuilt) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        place.forget_parked();
        let first = place.first_query()?;
        let second = place.first_query()?;
        cached.push(first.first_query_ms);
        parked.push(second.first_query_ms);
        rebuilt += usize::from(first.template != second.template);
    }
    let rebuilt = Figure::median("start.templates_rebuilt", "", &[rebuilt as f64]);
    Ok(vec![
        Figure::median("start.cold_ms", "ms", &[cold.first_query_ms]),
        Figure::median("start.cached_ms", "ms", &cached),
        Figure::median("start.parked_ms", "ms", &parked),
        Figure { runs, ..rebuilt },
    ])
}

/// A database that is ready, from `get` to the first answer, beside the same done by hand: rename, connect, ask.
fn gets(runs: usize) -> Result<Vec<Figure>> {
    let place = Place::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let template = Template::builder(place.path("workspace")).with_migrations("migrations").build();
    runtime.block_on(async {
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        let (server, source) = template.build().await?;
        let mut control = server.connect("postgres").await?;
        for run in 0..runs {
            wait_for_ready(&mut control).await?;
            let started = Instant::now();
            let db = template.get().await?;
            db.connection().await?.execute("select 1").await?;
            ours.push(started.elapsed().as_secs_f64() * 1e3);
            drop(db);

            let (new, name) = (format!("raw_new_{run}"), format!("raw_{run}"));
            control
                .execute(AssertSqlSafe(format!("create database {new} template {source} strategy file_copy")))
                .await?;
            let started = Instant::now();
            control.execute(AssertSqlSafe(format!("alter database {new} rename to {name}"))).await?;
            let mut connection = server.connect(&name).await?;
            connection.execute("select 1").await?;
            raw.push(started.elapsed().as_secs_f64() * 1e3);
            let _ = connection.close().await;
            control.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await?;
        }
        Ok(vec![
            Figure::median("get.ready_ms", "ms", &ours),
            Figure::against("get.ready_times_raw", &ours, "raw", &raw),
        ])
    })
}

/// Waits until a clone lies ready.
async fn wait_for_ready(control: &mut sqlx::PgConnection) -> Result<()> {
    wait::until_async("a clone to be ready", Duration::from_secs(10), async || {
        let sql = "select count(*) from pg_database where datname like 'pgh\\_r\\_%'";
        let ready: i64 = sqlx::query_scalar(sql).fetch_one(&mut *control).await?;
        // Before the first `get` nobody makes any.
        Ok(if ready > 0 { Look::Ready(()) } else { Look::NotYet("none".into()) })
    })
    .await
    .or(Ok(()))
}
