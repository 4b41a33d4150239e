//! Tools that others wrote, fetched with their own clients: those that run as a command, and one that judges what the
//! built-in runner wrote.

use crate::checks::projects;
use pgharness::finding::Outcome;
use pgharness::process::{Finished, Program};
use pgharness::suite::{Config, Suite};
use pgharness::{Template, env, notice, template};
use std::fs;
use std::path::Path;
use std::time::Duration;

static EMPTY: Template = template! {};

/// What clients say where there is no network.
const NETWORK: &[&str] = &[
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "Failed to establish a new connection",
    "Connection refused",
    "Network is unreachable",
    "name resolution",
    "Read timed out",
];

/// Runs a client to its end; `false` if there is no client or no network, which is said.
fn fetched(program: Program, client: &str) -> bool {
    let finished: Result<Finished, _> = program.deadline(Duration::from_secs(300)).run();
    let complaint = match finished {
        Ok(finished) if finished.status.success() => return true,
        Ok(finished) => {
            let complaint = format!("{}{}", finished.text(), finished.complaint());
            assert!(NETWORK.iter().any(|words| complaint.contains(words)), "{client}: {complaint}");
            complaint
        }
        Err(error) => error.report(),
    };
    assert!(!env::is_required("registry"), "{client}: {complaint}");
    notice::skipped("registry", &format!("`{client}` fetches nothing: {complaint}"));
    false
}

/// An environment of Python's in `dir` with `packages`; those in `alone` without what they need.
pub(crate) fn python(dir: &Path, packages: &[&str], alone: &[&str]) -> bool {
    let pip = |more: &[&str], packages: &[&str]| {
        let quiet = ["install", "--quiet", "--disable-pip-version-check", "--retries", "1"];
        Program::new(dir.join("bin/pip")).args(quiet).args(more).args(packages)
    };
    fetched(Program::new("python3").args(["-m", "venv"]).arg(dir), "python3 -m venv")
        && fetched(pip(&[], packages), "pip")
        && (alone.is_empty() || fetched(pip(&["--no-deps"], alone), "pip"))
}

fn npm(dir: &Path, packages: &[&str]) -> bool {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("package.json"), "{\"name\": \"probe\", \"private\": true}\n").unwrap();
    let quiet = ["install", "--no-audit", "--no-fund", "--fetch-retries", "1"];
    fetched(Program::new("npm").args(quiet).args(packages).current_dir(dir), "npm")
}

/// Applies the project's migrations from zero and again, with the checks that say whether that went well.
async fn judge(dir: &Path, command: &str, table: &str) {
    let toml = format!("[migrations]\ncommand = '''{command}'''\n");
    fs::write(dir.join("pgharness.toml"), toml).unwrap();
    let config = Config::load(&dir.join("pgharness.toml")).unwrap();
    let checks = ["migration.clean-apply", "migration.rerun"].map(str::to_owned);
    let report = Suite::new(&config)
        .with_only(&checks)
        .with_program(Some(env!("CARGO_BIN_EXE_door").into()))
        .run()
        .await
        .unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{:#?}", report.checks);
    assert_eq!(report.checks.len(), checks.len());
    let template = Template::builder(dir).with_migration_command(command).build();
    let mut connection = template.get().await.unwrap().connection().await.unwrap();
    let is_there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(is_there, "{table}");
}

#[tokio::test]
async fn alembic_applies_the_migrations_of_mlflow() {
    let root = projects();
    let venv = root.path().join("venv");
    // The whole of it would fetch what machine learning needs; its migrations need less.
    let light = ["mlflow-skinny==3.17.2", "alembic<2", "sqlalchemy==2.0.*", "psycopg2-binary"];
    if !python(&venv, &light, &["mlflow==3.17.2"]) {
        return;
    }
    let dir = root.path().join("project");
    fs::create_dir(&dir).unwrap();
    let command = format!("'{}' db upgrade \"$DATABASE_URL\"", venv.join("bin/mlflow").display());
    judge(&dir, &command, "public.experiments").await;
}

#[tokio::test]
async fn django_applies_its_own_migrations() {
    let root = projects();
    let venv = root.path().join("venv");
    if !python(&venv, &["django==5.2", "psycopg2-binary"], &[]) {
        return;
    }
    let dir = root.path().join("project");
    fs::create_dir(&dir).unwrap();
    let settings = "import os\n\
        SECRET_KEY = 'x'\n\
        INSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes', 'django.contrib.sessions']\n\
        DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['PGDATABASE'],\n\
        'HOST': os.environ['PGHOST'], 'PORT': os.environ['PGPORT'], 'USER': os.environ['PGUSER']}}\n";
    fs::write(dir.join("settings.py"), settings).unwrap();
    let python = venv.join("bin/python").display().to_string();
    let command =
        format!("PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 '{python}' -m django migrate --settings=settings");
    judge(&dir, &command, "public.auth_user").await;
}

#[tokio::test]
async fn a_tool_of_node_applies_migrations() {
    let root = projects();
    let dir = root.path().join("project");
    if !npm(&dir, &["node-pg-migrate@8", "pg@8"]) {
        return;
    }
    fs::create_dir(dir.join("migrations")).unwrap();
    let migration = "exports.up = (pgm) => { pgm.createTable('users', { id: 'id', name: { type: 'text' } }); };\n\
                     exports.down = (pgm) => { pgm.dropTable('users'); };\n";
    fs::write(dir.join("migrations/1_users.js"), migration).unwrap();
    judge(&dir, "node_modules/.bin/node-pg-migrate up", "public.users").await;
}

/// The tool itself finds everything applied, and we find what it applied.
#[tokio::test]
async fn dbmate_goes_on_where_we_stopped() {
    let root = projects();
    let dir = root.path().join("project");
    if !npm(&dir, &["dbmate@2"]) {
        return;
    }
    fs::create_dir(dir.join("migrations")).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.join("migrations").join(name), text).unwrap();
    write("1_users.sql", "-- migrate:up\ncreate table users (id int primary key);\n-- migrate:down\n");
    write(
        "2_index.sql",
        "-- migrate:up transaction:false\ncreate index concurrently i on users (id);\n-- migrate:down\n",
    );
    let db = EMPTY.get().await.unwrap();
    // lib/pq knows no mode `prefer`, and the server no TLS.
    let url = db.url_tcp().await.unwrap();
    let theirs = format!("{}?sslmode=disable", url.split('?').next().unwrap());
    let dbmate = |command: &str| {
        let run = Program::new(dir.join("node_modules/.bin/dbmate"))
            .args(["--url", &theirs, "--migrations-dir", "migrations", "--no-dump-schema", command])
            .current_dir(&dir)
            .run()
            .unwrap();
        assert!(run.status.success(), "{}{}", run.text(), run.complaint());
        run.text()
    };
    let ours = || {
        let door = Program::new(env!("CARGO_BIN_EXE_door")).current_dir(&dir);
        door.args(["migrate", "--url", &url, "--dir", "migrations"]).run().unwrap().text()
    };
    assert_eq!(ours(), "1_users.sql\n2_index.sql");
    assert_eq!(dbmate("migrate"), "", "nothing is left to do");
    assert!(dbmate("status").contains("Pending: 0"));
    write("3_more.sql", "-- migrate:up\ncreate table more (id int);\n-- migrate:down\n");
    assert!(dbmate("migrate").contains("Applied: 3_more.sql"));
    assert_eq!(ours(), "nothing is pending: 3 applied before");
}
