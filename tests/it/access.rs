//! What roles may do, as it turns out, and as it is declared.

use crate::checks::{project, projects, run};
use futures_util::stream::{self, StreamExt};
use pgharness::check::{Check, Context, Example, Kind, Registry, measured_matrix};
use pgharness::finding::Outcome;
use pgharness::suite::Config;
use rstest::rstest;
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
async fn the_help_of_default_privileges_mends_them() {
    let root = projects();
    let registry = Registry::standard();
    let check = registry.find("access.default-privileges").unwrap();
    let bad: Vec<&Example> = check.examples().iter().filter(|example| example.kind() == Kind::Bad).collect();
    assert!(bad.len() >= 11, "{}", bad.len());
    stream::iter(bad)
        .map(|example| mended(root.path(), check, example))
        .buffer_unordered(3)
        .collect::<()>()
        .await;
}

async fn mended(root: &Path, check: &dyn Check, example: &Example) {
    let dir = root.join(example.file);
    fs::create_dir(&dir).unwrap();
    let config = project(&dir, check, example);
    let report = run(&config, check.id()).await;
    assert!(!report.findings.is_empty(), "{}", example.file);
    let mut mends = String::new();
    for finding in &report.findings {
        for mend in finding.help.split('`').filter(|part| part.starts_with("alter ")) {
            mends.push_str(&format!("{mend};\n"));
        }
    }
    fs::write(dir.join("migrations/9999_mend.sql"), &mends).unwrap();
    let report = run(&config, check.id()).await;
    let ended = report.checks.iter().find(|result| result.id == check.id()).unwrap();
    assert_eq!(ended.outcome, Outcome::Passed, "{} {mends} {:#?}", example.file, report.findings);
}
