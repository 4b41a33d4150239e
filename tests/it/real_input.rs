//! Migrations that others wrote, fetched from the registry: what is said of them is true.

use crate::checks::projects;
use crate::support::installation_with;
use pgharness::finding::{Outcome, Severity};
use pgharness::postgres::Request;
use pgharness::process::{Finished, Program};
use pgharness::suite::{Config, Suite};
use pgharness::{Result, Template, env, notice};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is asked of every folder.
const CHECKS: [&str; 4] =
    ["migration.clean-apply", "migration.concurrent", "migration.filename", "migration.rerun"];

/// A published crate with migrations as sqlx has them, and what is true of it.
struct Published {
    name: &'static str,
    /// The one that was read by people.
    version: &'static str,
    /// How many migrations it holds; files that undo are none.
    migrations: usize,
    /// What they create, which not every installation has.
    extensions: &'static [&'static str],
    /// The last major version of Postgres that they apply to.
    newest: u32,
    /// A table that stands at the end.
    table: &'static str,
    /// "id subject" of every finding.
    findings: &'static [&'static str],
    /// The checks that cannot run on it.
    silent: &'static [&'static str],
}

/// Of those that the whole battery is run on two are left out: `fang`, whose folders are diesel's; and
/// `graphile_worker_migrations`, whose files have placeholders that its own code fills in.
const PUBLISHED: &[Published] = &[
    // A schema of its own, the extensions pgcrypto and hstore, functions and triggers.
    Published {
        name: "apalis-postgres",
        version: "1.0.0",
        migrations: 23,
        extensions: &["pgcrypto", "hstore"],
        newest: u32::MAX,
        table: "apalis.jobs",
        findings: &[],
        silent: &[],
    },
    // Dashes in names, tables dropped again.
    Published {
        name: "atuin-server-postgres",
        version: "18.20.1",
        migrations: 20,
        extensions: &[],
        newest: u32::MAX,
        table: "public.store",
        findings: &[],
        silent: &[],
    },
    // Pairs of files up and down, the extension uuid-ossp.
    Published {
        name: "sqlxmq",
        version: "0.6.0",
        migrations: 5,
        extensions: &["uuid-ossp"],
        // From 17 on the functions of an index see no schema but the server's own, and one of these calls `uuid_nil`.
        newest: 16,
        table: "public.mq_msgs",
        findings: &[],
        silent: &[],
    },
    // Its first file copies the table in which sqlx keeps its history.
    Published {
        name: "underway",
        version: "0.2.0",
        migrations: 6,
        extensions: &[],
        newest: u32::MAX,
        table: "underway.task",
        findings: &[],
        silent: &[],
    },
];

/// What the whole battery is run on besides.
const MORE: [(&str, &str); 2] = [("fang", "0.11.0"), ("graphile_worker_migrations", "0.4.24")];

/// Has cargo fetch the crates, of which nothing is compiled: the folders that they were unpacked to, by name.
async fn fetch(dir: &Path) -> Result<BTreeMap<String, PathBuf>, Refused> {
    let wanted: String = PUBLISHED
        .iter()
        .map(|one| (one.name, one.version))
        .chain(MORE)
        .map(|(name, version)| format!("{name} = \"={version}\"\n"))
        .collect();
    resolve(dir, &wanted, &[]).await
}

/// Why cargo did not fetch crates.
#[derive(Debug)]
enum Refused {
    /// The registry is out of reach.
    Network(String),
    /// Anything else: a version that was yanked, crates that do not go together.
    Other(String),
}

impl Refused {
    fn new(complaint: String) -> Refused {
        let is_network = NETWORK.iter().any(|words| complaint.contains(words));
        if is_network { Refused::Network(complaint) } else { Refused::Other(complaint) }
    }
}

/// What cargo, and the library that it fetches with, say where there is no network. No more than the cause: cargo
/// begins its complaint alike whatever it is.
const NETWORK: &[&str] = &[
    "Could not resolve host",
    "Couldn't resolve host",
    "Could not resolve proxy",
    "Could not connect to server",
    "Couldn't connect to server",
    "Failed to connect to",
    "Connection refused",
    "Connection reset",
    "Network is unreachable",
    "Timeout was reached",
    "SSL connect error",
];

/// Has cargo fetch dependencies, in an environment with `more`.
async fn resolve(
    dir: &Path,
    wanted: &str,
    more: &[(&str, &Path)],
) -> Result<BTreeMap<String, PathBuf>, Refused> {
    let manifest = format!(
        "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n{wanted}"
    );
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("src/lib.rs"), "").unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    let mut cargo = Program::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1"])
        .current_dir(dir)
        .deadline(Duration::from_secs(180));
    for (name, value) in more {
        cargo = cargo.env(name, value);
    }
    let fetched: Finished = cargo.run_async().await.map_err(|error| Refused::Other(error.report()))?;
    if !fetched.status.success() {
        return Err(Refused::new(fetched.complaint()));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let folder = |package: &serde_json::Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        (package["name"].as_str().unwrap().to_owned(), manifest.parent().unwrap().to_owned())
    };
    Ok(packages.iter().map(folder).collect())
}

/// A project with the crate's migrations and nothing else.
fn project(dir: &Path, unpacked: &Path) -> Config {
    let (from, to) = (unpacked.join("migrations"), dir.join("migrations"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    Config::default_for(dir)
}

/// How many migrations a template of the project applied, and whether `table` is there then.
async fn applied(dir: &Path, table: &str) -> (usize, bool) {
    let template = Template::builder(dir).with_migrations("migrations").build();
    let mut connection = template.get().await.unwrap().connection().await.unwrap();
    let (count, there): (i64, bool) =
        sqlx::query_as("select count(*), to_regclass($1) is not null from public._sqlx_migrations")
            .bind(table)
            .fetch_one(&mut connection)
            .await
            .unwrap();
    (usize::try_from(count).unwrap(), there)
}

/// Judges one crate in `dir`.
async fn judge(published: &Published, dir: &Path, unpacked: &Path) {
    let name = published.name;
    let config = project(dir, unpacked);
    let files = pgharness::migration::Migrations::load(dir.join("migrations"), Default::default()).unwrap();
    assert_eq!(files.len(), published.migrations, "{name}");
    assert_eq!(applied(dir, published.table).await, (published.migrations, true), "{name}");
    let report = Suite::new(&config)
        .with_only(&CHECKS.map(str::to_owned))
        .with_program(Some(env!("CARGO_BIN_EXE_door").into()))
        .run()
        .await
        .unwrap();
    let found: Vec<String> =
        report.findings.iter().map(|finding| format!("{} {}", finding.check, finding.subject)).collect();
    assert_eq!(found, published.findings, "{name}: {:#?}", report.findings);
    let silent: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Skipped)
        .map(|check| check.id.as_str())
        .collect();
    assert_eq!(silent, published.silent, "{name}");
    assert_eq!(report.checks.len(), CHECKS.len(), "{name}");
}

/// The folders that the crates were unpacked to; `None`, which is said, if the registry is out of reach.
async fn unpacked(root: &Path) -> Option<BTreeMap<String, PathBuf>> {
    match fetch(&root.join("probe")).await {
        Ok(unpacked) => Some(unpacked),
        Err(Refused::Network(complaint)) => {
            assert!(!env::is_required("registry"), "{complaint}");
            notice::skipped("registry", &format!("the registry is out of reach: {complaint}"));
            None
        }
        Err(Refused::Other(complaint)) => panic!("cargo cannot fetch the crates: {complaint}"),
    }
}

/// Those that the installation at hand can apply.
fn applicable() -> impl Iterator<Item = &'static Published> {
    PUBLISHED.iter().filter(|published| {
        let found = installation_with(Request::from_env().unwrap(), published.extensions);
        found.is_some_and(|installation| installation.version().major <= published.newest)
    })
}

#[tokio::test]
async fn what_is_said_of_published_migrations_is_true() {
    let root = projects();
    let Some(unpacked) = unpacked(root.path()).await else { return };
    for published in applicable() {
        let dir = root.path().join(published.name);
        judge(published, &dir, &unpacked[published.name]).await;
    }
}

/// The migrations of `fang` and `graphile_worker_migrations` as folders of their own.
fn more(root: &Path, unpacked: &BTreeMap<String, PathBuf>) -> Vec<Config> {
    let mut configs = Vec::new();
    if installation_with(Request::from_env().unwrap(), &["uuid-ossp"]).is_some() {
        let (from, dir) = (unpacked["fang"].join("postgres_migrations/migrations"), root.join("fang"));
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = dir.join("migrations").join(entry.file_name());
            fs::create_dir_all(&to).unwrap();
            for name in ["up.sql", "down.sql"] {
                fs::copy(entry.path().join(name), to.join(name)).unwrap();
            }
        }
        configs.push(Config::default_for(&dir));
    }
    let (from, dir) = (unpacked["graphile_worker_migrations"].join("src/sql"), root.join("graphile"));
    let to = dir.join("migrations");
    fs::create_dir_all(&to).unwrap();
    fs::write(to.join("000000_schema.sql"), "create schema graphile_worker;\n").unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_prefix('m')) else { continue };
        if name.ends_with(".sql") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace(":GRAPHILE_WORKER_SCHEMA", "graphile_worker");
            fs::write(to.join(name.replace(".sql", "_m.sql")), text).unwrap();
        }
    }
    configs.push(Config::default_for(&dir));
    configs
}

/// The one error that is one: an index calls a function that calls another without its schema, so that no dump can be
/// restored.
const TRUE_ERROR: (&str, &str) = ("sqlxmq", "drift.roundtrip");

#[tokio::test]
async fn the_whole_battery_finds_no_error_in_published_migrations_and_fills_their_tables() {
    let root = projects();
    let Some(unpacked) = unpacked(root.path()).await else { return };
    let mut configs: Vec<Config> = applicable()
        .map(|published| project(&root.path().join(published.name), &unpacked[published.name]))
        .collect();
    configs.extend(more(root.path(), &unpacked));
    let (mut tables, mut filled) = (0.0, 0.0);
    for config in &configs {
        let name = config.dir().file_name().unwrap().to_str().unwrap();
        let suite = Suite::new(config).with_program(Some(env!("CARGO_BIN_EXE_door").into()));
        let report = suite.run().await.unwrap();
        let mut errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        if name == TRUE_ERROR.0 {
            assert_eq!(errors.next().unwrap().check, TRUE_ERROR.1);
        }
        assert_eq!(errors.next(), None, "{name}");
        let broken = report.checks.iter().find(|check| {
            check.outcome == Outcome::Skipped
                && check.reason.as_ref().is_some_and(|reason| reason.starts_with("could not run"))
        });
        assert!(broken.is_none(), "{name}: {broken:?}");
        assert!(report.findings.iter().all(|finding| !finding.evidence.is_empty()), "{name}");
        let measured = |what: &str| {
            let name = format!("migration.populated.{what}");
            report.measurements.iter().find(|one| one.name == name).map_or(0.0, |one| one.value)
        };
        tables += measured("tables");
        filled += measured("with rows");
    }
    assert!(tables >= 10.0, "{tables} tables");
    assert!(filled >= 0.95 * tables, "{filled} of {tables} tables");
}

/// A port that nobody listens on: what cargo says then is the network's fault.
#[tokio::test]
async fn a_registry_out_of_reach_is_told_from_what_the_registry_says() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = [
        ("CARGO_HOME", dir.path().join("home")),
        ("CARGO_HTTP_PROXY", "http://127.0.0.1:1".into()),
        ("CARGO_NET_RETRY", "0".into()),
    ];
    let nobody = nobody.each_ref().map(|(name, value)| (*name, value.as_path()));
    let refused = resolve(&dir.path().join("probe"), "itoa = \"1\"\n", &nobody).await.unwrap_err();
    assert!(matches!(refused, Refused::Network(_)), "{refused:?}");

    // A registry that can be reached, and has no such version: one in a folder.
    let (home, registry) = (dir.path().join("other"), dir.path().join("registry"));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&registry).unwrap();
    let config = format!(
        "[source.crates-io]\nreplace-with = \"folder\"\n[source.folder]\ndirectory = {:?}\n",
        registry.display().to_string()
    );
    fs::write(home.join("config.toml"), config).unwrap();
    let probe = dir.path().join("other-probe");
    let refused = resolve(&probe, "itoa = \"=1.0.0\"\n", &[("CARGO_HOME", &home)]).await.unwrap_err();
    assert!(matches!(refused, Refused::Other(_)), "{refused:?}");
}
