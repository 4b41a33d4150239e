//! A participant: a program that does with databases what a test suite does, to be started many times at once
//! and killed at any moment. Tests of the keeper and `cargo xtask leak-hunt` share it.

// The examples of the README are run as tests of their own.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]

pub mod fuzz;

use clap::Parser;
use pgharness::explore::{Access, Explorer};
use pgharness::sqlx::{AssertSqlSafe, Executor, query_as};
use pgharness::wait::{self, Look};
use pgharness::{Isolation, Template, TestDb};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Templates beside the common one.
pub const VARIANTS: u64 = 3;
/// Templates that create roles.
pub const REALMS: u64 = 4;

/// The database, and how much in it is not what [`lay_out`] has the template hold.
const TRACES: &str = "
    select (select oid::int8 from pg_database where datname = current_database()),
           (select count(*) from mark) + abs(500 - (select count(*) from seeded where text = md5(n::text)))
           + (select count(*) from pg_class where oid >= 16384 and relkind = 'r'
              and relname not in ('bulk', 'mark', 'seeded', 'variant'))";

/// Gets databases in a loop, writes into them and lets go of them.
#[derive(Clone, Debug, Parser)]
pub struct Participant {
    /// The workspace; see [`lay_out`].
    pub workspace: PathBuf,
    /// Ends after so many databases.
    #[arg(long, default_value_t = u64::MAX)]
    pub count: u64,
    /// Ends after so many milliseconds.
    #[arg(long, default_value_t = u64::MAX)]
    pub for_ms: u64,
    /// Ends with the first database on the so-manieth server, however long that takes.
    #[arg(long, default_value_t = usize::MAX)]
    pub servers: usize,
    /// Holds so many databases at a time.
    #[arg(long, default_value_t = 2)]
    pub hold: usize,
    /// Every so-manieth database is of another template; 0: none.
    #[arg(long, default_value_t = 0)]
    pub vary: u64,
    /// Every database has a server of its own, on which roles are created, altered and dropped.
    #[arg(long)]
    pub cluster: bool,
    /// Databases are of so many templates that create roles, in turn.
    #[arg(long, default_value_t = 0)]
    pub realms: u64,
    /// Databases are of a template with a fixture that creates a role, which is found out.
    #[arg(long)]
    pub creates_role: bool,
    /// Runs these statements in each database, after all else.
    #[arg(long)]
    pub sql: Option<String>,
    /// What else it does after the first database.
    #[arg(long, value_enum)]
    pub stunt: Option<Stunt>,
    /// Starts when this file is there.
    #[arg(long)]
    pub after: Option<PathBuf>,
}

/// What a test suite may do to its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stunt {
    /// A child is forked that ends without `exec`.
    Fork,
    /// The process exits while databases are held.
    Exit,
    /// A thread panics while it holds a database.
    Panic,
    /// Every test fails: its database is kept.
    Fail,
    /// A schedule is explored in which one client waits for another, frozen, for a minute.
    Explore,
}

/// What went wrong, as the participant prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No database could be had.
    Get,
    /// A database that was had could not be used.
    Use,
    /// A database held what somebody else had written.
    Dirty,
}

/// What a participant said.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The base directories of the servers that it used, in order, each change once.
    pub servers: Vec<String>,
    /// Databases that it got.
    pub databases: u64,
    /// The object ids of those that it got, in order.
    pub ids: Vec<u32>,
    /// Databases that it left to be kept, in order.
    pub kept: Vec<String>,
    /// The time until the first one, in milliseconds.
    pub first_ms: Option<f64>,
    /// What went wrong, with the message.
    pub troubles: Vec<(Trouble, String)>,
}

/// Writes what a participant needs into `workspace`. Every build of a template adds a line to `built`, a file
/// that the server's user can write.
///
/// # Errors
/// The folder cannot be written.
pub fn lay_out(workspace: &Path) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(workspace)?;
    let built = workspace.join("built");
    std::fs::write(&built, "")?;
    std::fs::set_permissions(&built, PermissionsExt::from_mode(0o666))?;
    std::fs::write(workspace.join("Cargo.lock"), "")?;
    let seed = format!(
        "create table mark (writer int, at timestamptz default now());
         create table seeded as select n, md5(n::text) as text from generate_series(1, 500) n;
         copy (select 'built') to program 'cat >>{}';",
        built.display()
    );
    std::fs::write(workspace.join("seed.sql"), seed)?;
    for realm in 0..REALMS {
        std::fs::write(workspace.join(format!("realm-{realm}.sql")), format!("create role realm_{realm}"))?;
    }
    std::fs::write(workspace.join("role.sql"), "create role of_a_fixture")?;
    for variant in 0..VARIANTS {
        let sql = format!("create table variant as select {variant} as n, now() as at");
        std::fs::write(workspace.join(format!("variant-{variant}.sql")), sql)?;
    }
    Ok(built)
}

impl Participant {
    /// A participant that gets one database and ends.
    pub fn once(workspace: &Path) -> Participant {
        Participant {
            workspace: workspace.to_owned(),
            count: 1,
            for_ms: u64::MAX,
            servers: usize::MAX,
            hold: 1,
            vary: 0,
            cluster: false,
            realms: 0,
            creates_role: false,
            sql: None,
            stunt: None,
            after: None,
        }
    }

    /// The arguments that make it again in another process.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.workspace.display().to_string()];
        for (name, value) in [
            ("--count", self.count),
            ("--for-ms", self.for_ms),
            ("--servers", self.servers as u64),
            ("--hold", self.hold as u64),
            ("--vary", self.vary),
            ("--realms", self.realms),
        ] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        if self.cluster {
            arguments.push("--cluster".into());
        }
        if self.creates_role {
            arguments.push("--creates-role".into());
        }
        if let Some(sql) = &self.sql {
            arguments.extend(["--sql".into(), sql.clone()]);
        }
        if let Some(stunt) = self.stunt {
            arguments.extend(["--stunt".into(), format!("{stunt:?}").to_lowercase()]);
        }
        if let Some(after) = &self.after {
            arguments.extend(["--after".into(), after.display().to_string()]);
        }
        arguments
    }

    /// Takes part; the exit code tells whether anything went wrong.
    pub fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                say("trouble get", &error.to_string());
                return ExitCode::FAILURE;
            }
        };
        if runtime.block_on(self.take_part()) { ExitCode::SUCCESS } else { ExitCode::from(4) }
    }

    async fn take_part(self) -> bool {
        if let Some(after) = &self.after {
            let there = wait::until("the start", Duration::from_secs(60), || {
                Ok(if after.exists() { Look::Ready(()) } else { Look::NotYet("not there".into()) })
            });
            if there.is_err() {
                say("trouble get", "nobody gave the start");
                return false;
            }
        }
        let isolation = if self.cluster { Isolation::Cluster } else { Isolation::Database };
        let template = |fixtures: Vec<String>| {
            Template::builder(&self.workspace).with_fixtures(fixtures).with_isolation(isolation).build()
        };
        let role = self.creates_role.then(|| "role.sql".into());
        let common = template(["seed.sql".into()].into_iter().chain(role).collect());
        let variants: Vec<Template> = (0..VARIANTS)
            .map(|variant| template(vec!["seed.sql".into(), format!("variant-{variant}.sql")]))
            .collect();
        let realms: Vec<Template> = (0..self.realms)
            .map(|realm| {
                Template::builder(&self.workspace)
                    .with_fixtures(["seed.sql"])
                    .with_bootstrap([format!("realm-{realm}.sql")])
                    .build()
            })
            .collect();
        let started = Instant::now();
        let mut held = VecDeque::new();
        let mut server = None;
        let mut servers = 0;
        let mut is_well = true;
        let mut number = 0;
        while number < self.count
            && servers < self.servers
            && started.elapsed().as_millis() < u128::from(self.for_ms)
        {
            number += 1;
            let varies = self.vary > 0 && number % self.vary == 0;
            let place = (number / self.vary.max(1) + u64::from(std::process::id())) % VARIANTS;
            let template = if self.realms > 0 {
                &realms[(number % self.realms) as usize]
            } else if varies {
                &variants[place as usize]
            } else {
                &common
            };
            let db = match template.get_for("a participant").await {
                Ok(db) => db,
                Err(error) => {
                    say("trouble get", &format!("{error:?}"));
                    is_well = false;
                    continue;
                }
            };
            let base = db.server().base().map(Path::to_owned);
            if server != Some(base.clone()) {
                say("server", &base.as_deref().unwrap_or(Path::new("-")).display().to_string());
                server = Some(base);
                servers += 1;
            }
            match self.use_database(&db).await {
                Ok(0) => {}
                Ok(traces) => {
                    say("trouble dirty", &format!("`{}` has {traces} traces of others", db.name()));
                    is_well = false;
                }
                Err(error) => {
                    say("trouble use", &format!("{error:?}"));
                    is_well = false;
                }
            }
            if number == 1 {
                say("first", &format!("{:.1}", started.elapsed().as_secs_f64() * 1e3));
                if self.stunt == Some(Stunt::Explore)
                    && let Err(error) = explore(template).await
                {
                    say("trouble use", &format!("{error:?}"));
                    is_well = false;
                } else if self.stunt.is_some() {
                    self.do_stunt(&template.get_for("a stunt").await);
                }
            }
            if self.stunt == Some(Stunt::Fail) {
                say("kept", db.name());
                fail_with(db);
                continue;
            }
            held.push_back(db);
            if held.len() >= self.hold {
                held.pop_front();
            }
        }
        say("databases", &number.to_string());
        is_well
    }

    fn do_stunt<E>(&self, db: &Result<TestDb, E>) {
        match self.stunt {
            None | Some(Stunt::Fail | Stunt::Explore) => {}
            Some(Stunt::Exit) => std::process::exit(0),
            Some(Stunt::Panic) => {
                if let Ok(db) = db {
                    fail_with(db.share());
                }
            }
            Some(Stunt::Fork) => {
                // SAFETY: the child does nothing but exit, as a child whose `exec` failed might.
                match unsafe { nix::unistd::fork() } {
                    Ok(nix::unistd::ForkResult::Child) => std::process::exit(0),
                    Ok(nix::unistd::ForkResult::Parent { child }) => {
                        let _ = nix::sys::wait::waitpid(child, None);
                    }
                    Err(error) => say("trouble use", &error.to_string()),
                }
            }
        }
    }

    /// Writes into the database; gives how many rows or tables in it are not the template's.
    async fn use_database(&self, db: &TestDb) -> pgharness::Result<i64> {
        let mut connection = db.connection().await?;
        let (oid, traces): (i64, i64) = query_as(TRACES).fetch_one(&mut connection).await?;
        say("id", &oid.to_string());
        let pid = std::process::id();
        let write = format!(
            "insert into mark select {pid} from generate_series(1, 50);
             delete from seeded where n % 50 = 0; update seeded set text = 'changed' where n % 50 = 1"
        );
        connection.execute(AssertSqlSafe(write)).await?;
        if let Some(sql) = &self.sql {
            connection.execute(AssertSqlSafe(sql.clone())).await?;
        }
        if self.cluster {
            for sql in [
                "create role worker login",
                "alter role worker set work_mem to '5MB'",
                "grant select on mark to worker",
                "alter role worker connection limit 3",
                "drop owned by worker",
                "drop role worker",
            ] {
                connection.execute(sql).await?;
            }
        }
        Ok(traces)
    }
}

/// Has one client wait for another's lock, and the other sleep.
async fn explore(template: &Template) -> pgharness::Result<()> {
    let client = async |db: Access| {
        let mut connection = db.connection().await?;
        connection.execute("select pg_advisory_lock(7)").await?;
        connection.execute("select pg_sleep(50)").await?;
        Ok(())
    };
    let explorer = Explorer::of(template).client("sleeper", client).client("waiter", client);
    explorer.replay("aba").await.map(drop)
}

/// Ends a test that has this database as tests end that fail.
fn fail_with(db: TestDb) {
    let thread = std::thread::spawn(move || {
        let _held = db;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    let _ = thread.join();
}

/// One line for the reader of our output, whatever the text holds.
fn say(what: &str, text: &str) {
    let line = format!("{what} {}\n", text.replace('\n', "\\n"));
    // Whoever started us may be gone: then nobody reads it.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

impl Story {
    /// Reads what a participant printed.
    pub fn read(output: &str) -> Story {
        let mut story = Story::default();
        for line in output.lines() {
            let Some((what, rest)) = line.split_once(' ') else { continue };
            match (what, rest.split_once(' ')) {
                ("server", _) => story.servers.push(rest.to_owned()),
                ("id", _) => story.ids.extend(rest.parse::<u32>()),
                ("kept", _) => story.kept.push(rest.to_owned()),
                ("first", _) => story.first_ms = rest.parse().ok(),
                ("databases", _) => story.databases = rest.parse().unwrap_or_default(),
                ("trouble", Some(("get", text))) => story.troubles.push((Trouble::Get, text.to_owned())),
                ("trouble", Some(("use", text))) => story.troubles.push((Trouble::Use, text.to_owned())),
                ("trouble", Some(("dirty", text))) => story.troubles.push((Trouble::Dirty, text.to_owned())),
                _ => {}
            }
        }
        story
    }
}
