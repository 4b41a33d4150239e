//! What roles may do, as it turns out, and as it is declared.

use crate::checks::{project, projects, run};
use futures_util::stream::{self, StreamExt};
use pgharness::check::{Check, Context, Example, Kind, Registry, measured_matrix};
use pgharness::finding::{Finding, Outcome};
use pgharness::suite::Config;
use rstest::rstest;
use sqlx::{AssertSqlSafe, Executor};
use std::fs;
use std::path::Path;

/// Who starts with a matrix has no finding: what was measured, declared, is what is measured again.
#[rstest]
#[case("access.matrix", "good.sql")]
#[case("access.matrix", "good_partition.sql")]
#[case("access.matrix", "good_routines.sql")]
#[case("access.matrix", "bad_column.sql")]
#[case("access.matrix", "bad_public.sql")]
#[case("access.append-only", "good_partitioned.sql")]
#[tokio::test]
async fn a_measured_matrix_passes_once_it_is_declared(#[case] id: &str, #[case] file: &str) {
    let root = projects();
    let dir = root.path().join("project");
    fs::create_dir(&dir).unwrap();
    let registry = Registry::standard();
    let check = registry.find(id).unwrap();
    let example = check.examples().iter().find(|example| example.file == file).unwrap();
    assert_ne!(example.kind(), Kind::Config);
    project(&dir, check, example);
    let undeclared = without_matrix(&dir);
    let context = Context::new(undeclared.project().unwrap());
    let matrix = measured_matrix(&context).await.unwrap();
    assert!(matrix.contains("[access.matrix.web_app]"), "{matrix}");

    let toml = dir.join("pgharness.toml");
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, format!("{text}\n{matrix}")).unwrap();
    let report = run(&Config::load(&toml).unwrap(), "access.matrix").await;
    let ended = report.checks.iter().find(|result| result.id == "access.matrix").unwrap();
    assert_eq!(ended.outcome, Outcome::Passed, "{matrix}\n{:#?}", report.findings);
}

/// The project without the lines of its matrix.
fn without_matrix(dir: &Path) -> Config {
    let toml = dir.join("pgharness.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let kept = text.split("\n[access").next().unwrap();
    fs::write(&toml, kept).unwrap();
    Config::load(&toml).unwrap()
}

#[tokio::test]
async fn transcripts_of_default_privileges_show_them_and_the_help_mends_them() {
    let root = projects();
    let registry = Registry::standard();
    let check = registry.find("access.default-privileges").unwrap();
    let bad: Vec<&Example> = check.examples().iter().filter(|example| example.kind() == Kind::Bad).collect();
    assert!(bad.len() >= 11, "{}", bad.len());
    stream::iter(bad)
        .map(|example| shown_and_mended(root.path(), check, example))
        .buffer_unordered(3)
        .collect::<()>()
        .await;
}

async fn shown_and_mended(root: &Path, check: &dyn Check, example: &Example) {
    let dir = root.join(example.file);
    fs::create_dir(&dir).unwrap();
    let config = project(&dir, check, example);
    let report = run(&config, check.id()).await;
    let context = Context::new(config.project().unwrap());
    assert!(!report.findings.is_empty(), "{}", example.file);
    let mut mends = String::new();
    for finding in &report.findings {
        replay(&context, finding).await;
        for mend in finding.help.split('`').filter(|part| part.starts_with("alter ")) {
            mends.push_str(&format!("{mend};\n"));
        }
    }
    fs::write(dir.join("migrations/9999_mend.sql"), &mends).unwrap();
    let report = run(&config, check.id()).await;
    let ended = report.checks.iter().find(|result| result.id == check.id()).unwrap();
    assert_eq!(ended.outcome, Outcome::Passed, "{} {mends} {:#?}", example.file, report.findings);
}

/// Runs a transcript in one transaction, since roles are shared by all databases of a server.
async fn replay(context: &Context, finding: &Finding) {
    let db = context.database().await.unwrap();
    let mut session = db.connection().await.unwrap();
    session.execute("begin").await.unwrap();
    for step in &finding.evidence {
        let came = session.execute(AssertSqlSafe(step.sql.clone())).await;
        let code = came.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
        let told = step.result.strip_prefix("SQLSTATE ").and_then(|rest| rest.get(..5));
        assert_eq!(code.as_deref(), told, "{}: {finding:#?}", step.sql);
    }
}
