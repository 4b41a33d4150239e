//! Every check finds fault with its bad examples, and says nothing of its good ones.

use futures_util::stream::{self, StreamExt};
use pgharness::check::{Check, Example, Kind, Registry};
use pgharness::finding::{Finding, Outcome};
use pgharness::report::Report;
use pgharness::secret::Secret;
use pgharness::suite::{Config, Suite};
use pgharness::{Template, TestDb};
use rstest::rstest;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// How many examples are looked at together: each check of migrations has two servers of its own.
pub(crate) const AT_ONCE: usize = 3;

/// A folder for projects. It lies within the workspace, so that they share its servers.
pub(crate) fn projects() -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // What examples name as `../roles.sql`.
    fs::write(dir.path().join("roles.sql"), include_str!("../../fixtures/checks/roles.sql")).unwrap();
    dir
}

/// Writes the project that an example stands for, and reads its configuration.
pub(crate) fn project(dir: &Path, check: &dyn Check, example: &Example) -> Config {
    let mut files: Vec<(String, String)> = Vec::new();
    if let Some(shared) = check.examples().iter().find(|other| other.kind() == Kind::Config) {
        files.push(("pgharness.toml".into(), shared.sql.into()));
    }
    files.extend(example.files());
    for (name, text) in &files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let toml = dir.join("pgharness.toml");
    if files.iter().any(|(name, _)| name == "bootstrap.sql") {
        let text = fs::read_to_string(&toml).unwrap_or_default();
        assert!(text.contains("bootstrap.sql"), "{}: `bootstrap.sql` is not run", example.file);
    }
    if !toml.exists() {
        fs::write(&toml, "").unwrap();
    }
    Config::load(&toml).unwrap()
}

/// The live database that an example stands for, where it has a `live.sql`; as superuser.
pub(crate) async fn live(dir: &Path) -> Option<TestDb> {
    if !dir.join("live.sql").exists() {
        return None;
    }
    let template = Template::builder(dir).with_bootstrap(["../roles.sql"]).with_fixtures(["live.sql"]);
    Some(template.build().get().await.unwrap())
}

/// Runs one check on one project.
pub(crate) async fn run(config: &Config, id: &str) -> Report {
    let live = live(config.dir()).await;
    run_against(config, id, live.as_ref()).await
}

/// Runs one check on one project, with this live database.
pub(crate) async fn run_against(config: &Config, id: &str, live: Option<&TestDb>) -> Report {
    Suite::new(config)
        .with_only(&[id.to_owned()])
        .with_live(live.map(|db| Secret::new(db.url())))
        .with_live_probes(true)
        .with_program(Some(env!("CARGO_BIN_EXE_door").into()))
        .run()
        .await
        .unwrap()
}

/// What is wrong with the check's verdict on an example, if anything.
async fn judge(root: &Path, check: &dyn Check, example: &Example) -> Option<String> {
    let dir = root.join(format!("{}.{}", check.id(), example.file));
    fs::create_dir(&dir).unwrap();
    let report = run(&project(&dir, check, example), check.id()).await;
    let id = check.id();
    let own: Vec<&Finding> = report.findings.iter().filter(|finding| finding.check == id).collect();
    let ended = report.checks.iter().find(|result| result.id == id).unwrap();
    let fault = match (example.kind(), &ended.outcome) {
        (_, Outcome::Skipped) => Some(format!("skipped: {}", ended.reason.as_deref().unwrap_or_default())),
        (Kind::Bad, Outcome::Passed) => Some("nothing is found".into()),
        (Kind::Good, Outcome::Failed) => Some(format!("{own:#?}")),
        _ => own
            .iter()
            .find(|finding| finding.evidence.is_empty() || finding.help.is_empty())
            .map(|finding| format!("no evidence, or no help: {finding:#?}")),
    };
    fault.map(|fault| format!("{id} on {}: {fault}", example.file))
}

#[rstest]
#[case::access("access")]
#[case::drift("drift")]
#[case::migration("migration")]
#[case::operations("operations")]
#[case::structure("structure")]
#[case::tenancy("tenancy")]
#[tokio::test]
async fn bad_examples_are_found_and_good_ones_are_not(#[case] family: &str) {
    let root = projects();
    let registry = Registry::standard();
    let cases: Vec<(&dyn Check, &Example)> = of_family(&registry, family)
        .flat_map(|check| check.examples().iter().map(move |example| (check, example)))
        .filter(|(_, example)| example.kind() != Kind::Config)
        .collect();
    assert!(cases.len() >= 2, "{family}: {}", cases.len());
    let faults: Vec<String> = stream::iter(cases)
        .map(|(check, example)| judge(root.path(), check, example))
        .buffer_unordered(AT_ONCE)
        .filter_map(async |fault| fault)
        .collect()
        .await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

pub(crate) fn of_family<'a>(registry: &'a Registry, family: &'a str) -> impl Iterator<Item = &'a dyn Check> {
    registry.iter().filter(move |check| check.id().split('.').next() == Some(family))
}

#[test]
fn no_family_of_checks_is_left_out() {
    let tested = ["access", "drift", "migration", "operations", "structure", "tenancy"];
    for id in Registry::standard().ids() {
        let family = id.split('.').next().unwrap();
        assert!(tested.contains(&family), "`{family}` has no case above");
    }
}

/// What the check says of its first bad example, with the fix of its story as one migration more.
async fn judge_fix(root: &Path, check: &dyn Check, fix: &str) -> Option<String> {
    let id = check.id();
    let example = check.examples().iter().find(|example| example.kind() == Kind::Bad).unwrap();
    let dir = root.join(format!("{id}.fixed"));
    fs::create_dir(&dir).unwrap();
    let config = project(&dir, check, example);
    fs::write(dir.join("migrations/9999_fix.sql"), format!("{fix};\n")).unwrap();
    let report = run(&config, id).await;
    let ended = report.checks.iter().find(|result| result.id == id).unwrap();
    (ended.outcome != Outcome::Passed)
        .then(|| format!("{id}: {:?} {:?} {:#?}", ended.outcome, ended.reason, report.findings))
}

#[tokio::test]
async fn the_fix_of_each_story_makes_the_finding_go_away() {
    let root = projects();
    let registry = Registry::standard();
    let faults: Vec<String> = stream::iter(registry.iter().filter_map(|check| Some((check, check.story()?))))
        .map(|(check, story)| judge_fix(root.path(), check, story.fix))
        .buffer_unordered(AT_ONCE)
        .filter_map(async |fault| fault)
        .collect()
        .await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
