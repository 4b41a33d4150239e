//! Evidence is pasted into psql and shows the same again: of every bad example of every check.

use crate::checks::{AT_ONCE, live, of_family, project, projects, run_against};
use futures_util::stream::{self, StreamExt};
use pgharness::TestDb;
use pgharness::check::{Check, Context, Example, Kind, Registry, Verdict};
use pgharness::finding::{Evidence, Finding, Subject};
use pgharness::process::Program;
use pgharness::report::{CheckRun, Colour, Report, text};
use rstest::rstest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Checks of which nothing can be pasted into the project's database, and why. What a finding's evidence says decides;
/// a check that stands here and whose evidence can be pasted after all is a failure too.
const LEFT_OUT: &[(&str, &str)] = &[
    ("drift.model", "the difference is that of a tool's model, which is no database"),
    ("migration.clean-apply", "it begins with an empty database"),
    ("migration.concurrent", "several runs of the migrations at a time are no statements"),
    ("migration.crash-resume", "it begins with an empty database, and cuts a run off"),
    ("migration.deterministic", "it begins with an empty database beside the project's"),
    ("migration.down", "it begins with an empty database"),
    ("migration.expand-only", "it begins with the migrations before"),
    ("migration.filename", "it is about names of files"),
    ("migration.history", "it begins with an empty database"),
    ("migration.immutable", "it is about what files say"),
    ("migration.lock-released", "a run that fails is no statement"),
    ("migration.locks", "it begins with the migrations before"),
    ("migration.old-release", "it begins with the migrations before"),
    ("migration.populated", "it begins with the migrations before"),
    ("migration.rerun", "a second run of the migrations is no statement"),
    ("operations.history", "it compares files with the history, which each tool keeps in its own way"),
    ("operations.literal-secrets", "it is about what files say"),
    ("tenancy.publication", "it needs `wal_level = logical`"),
];

/// What came of a step.
#[derive(Debug, Default)]
struct Came {
    /// The SQLSTATE of each error; what is psql's own has none.
    errors: Vec<String>,
    /// What was printed, without command tags.
    lines: Vec<String>,
    /// How many rows the last statement gave or changed.
    rows: i64,
}

/// What stands in front of a step's number, where its result would be.
const MARK: &str = "step of the transcript: ";

/// The number of what is behind the last step.
const BEHIND: usize = usize::MAX;

/// The text that a report prints of a finding's transcript, with a command in place of each result that says which step
/// it was.
fn pasted(finding: &Finding) -> String {
    let mut marked = finding.clone();
    for (number, step) in marked.evidence.iter_mut().enumerate() {
        step.result = format!("{MARK}{number}");
    }
    marked.help.clear();
    let run = CheckRun { id: finding.check.clone(), millis: 0, verdict: Ok(Verdict::of(vec![marked])) };
    let report = text(&Report::new(None, vec![run], &[], 0), Colour::Off);
    let start = report.find("    SET ROLE").unwrap();
    let end = report.rfind("RESET ROLE;").unwrap();
    let mut text = String::new();
    for line in report[start..end].lines() {
        let _ = match line.strip_prefix("    -- ").and_then(|rest| rest.strip_prefix(MARK)) {
            Some(number) => writeln!(text, "\\echo '{MARK}'{number} :ROW_COUNT"),
            // What psql describes has more than rows.
            None if is_description(line.trim_start()) => {
                writeln!(text, "\\pset tuples_only off\n{line}\n\\pset tuples_only on")
            }
            None => writeln!(text, "{line}"),
        };
    }
    text + "RESET ROLE;\n"
}

/// Pastes the transcript into psql, in `dir`; what came of each step that a role ran.
async fn paste(db: &TestDb, dir: &Path, finding: &Finding) -> BTreeMap<usize, Came> {
    let text = pasted(finding);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &text).unwrap();
    let psql = db.server().installation().unwrap().client_tool("psql").unwrap();
    let finished = Program::new(psql)
        .args(["-X", "-q", "-A", "-t", "-P", "null=null", "-v", "VERBOSITY=sqlstate", "-d", &db.url(), "-f"])
        .arg(file.path())
        .current_dir(dir)
        .run_async()
        .await
        .unwrap();
    let mut came = BTreeMap::new();
    let mut lines = Vec::new();
    for line in finished.text().lines() {
        let Some(rest) = line.strip_prefix(MARK) else {
            lines.push(line.to_owned());
            continue;
        };
        let (number, rows) = rest.split_once(' ').unwrap();
        let rows = rows.parse().unwrap_or_default();
        let lines = std::mem::take(&mut lines);
        came.insert(number.parse().unwrap(), Came { errors: Vec::new(), lines, rows });
    }
    // Which step a line of the text belongs to.
    let step_of = |line: usize| -> usize {
        let mark = text.lines().skip(line.saturating_sub(1)).find_map(|line| line.strip_prefix("\\echo '"));
        let number =
            mark.and_then(|mark| mark.strip_prefix(MARK)?.trim_start_matches('\'').split(' ').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(BEHIND)
    };
    for line in finished.complaint().lines() {
        let place = line.strip_prefix("psql:").and_then(|rest| rest.split_once(": "));
        let Some((place, said)) = place else { continue };
        let number = place.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let code = ["ERROR:  ", "FATAL:  ", "error: "].into_iter().find_map(|level| said.strip_prefix(level));
        if let Some(code) = code {
            came.entry(step_of(number)).or_default().errors.push(code.to_owned());
        }
    }
    came
}

/// Whether a step tells something, and it came again; or what is wrong.
fn judge(admin: &str, subject: &Subject, step: &Evidence, came: Option<&Came>) -> Result<bool, String> {
    let Some(came) = came else { return Err("psql did not come to it".into()) };
    let said = step.result.as_str();
    if is_description(&step.sql) {
        return described(subject, said, &came.lines.join("\n"));
    }
    let code = said.split_once("SQLSTATE ").and_then(|(_, rest)| rest.get(..5));
    let code = code.filter(|_| said.starts_with("SQLSTATE") || !said.contains("once the rows"));
    match (code, came.errors.as_slice()) {
        (Some(code), [error]) if code == error => return Ok(true),
        (Some(code), []) => return Err(format!("it does not fail with {code}")),
        (_, []) => {}
        (_, errors) => return Err(format!("it fails with {}", errors.join(", "))),
    }
    // Of who looks after the server it says nothing that it is not refused.
    if said.is_empty() || said.starts_with("done") || said.starts_with("not refused") {
        return Ok(!said.is_empty() && step.role.as_deref() != Some(admin));
    }
    if let Some(number) = number(said) {
        let figure = figure(&step.sql, came);
        return if figure == number { Ok(true) } else { Err(format!("it gives {figure}")) };
    }
    // What a statement that prints nothing is for may be said in any words.
    if came.lines.iter().all(String::is_empty) {
        return Ok(false);
    }
    let printed: Vec<String> = came.lines.iter().map(|line| in_words(line)).collect();
    let printed = printed.join("\n");
    match said.strip_prefix(&printed) {
        // What is laid ready shows nothing yet.
        Some(rest) if rest.is_empty() || rest.starts_with([':', ';', ',', '\n']) => {
            Ok(!step.sql.starts_with("select set_config("))
        }
        _ => Err(format!("it gives `{printed}`")),
    }
}

/// A row as a result writes it.
fn in_words(line: &str) -> String {
    let cells = line.split('|').map(|cell| match cell {
        "t" => "true",
        "f" => "false",
        other => other,
    });
    cells.collect::<Vec<_>>().join(", ")
}

/// Facts that psql writes in other words.
const IN_OTHER_WORDS: [&str; 3] = ["nullable", "privileges", "row security"];

/// Whether psql describes an object: what it prints then is made for people.
fn is_description(sql: &str) -> bool {
    sql.starts_with("\\d") || sql.starts_with("\\sf")
}

/// Whether psql describes `subject` as it is said to be.
fn described(subject: &Subject, said: &str, printed: &str) -> Result<bool, String> {
    let name = match subject.kind.as_str() {
        "grant" => format!("{}=", subject.name.rsplit(' ').next().unwrap_or_default()),
        _ => {
            let name = subject.name.split('(').next().unwrap_or_default();
            name.rsplit('.').next().unwrap_or_default().to_owned()
        }
    };
    let is_there = match name.ends_with('=') {
        true => printed.contains(&name),
        false => printed.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name),
    };
    let is_so = match said.split_once(": ") {
        None if said.starts_with("is ") => {
            is_there && printed.to_lowercase().contains(&said["is ".len()..].to_lowercase())
        }
        None => is_there == (said == "there"),
        Some((fact, value)) => is_there && (IN_OTHER_WORDS.contains(&fact) || printed.contains(value)),
    };
    if is_so { Ok(true) } else { Err(format!("psql says `{printed}`")) }
}

/// How many rows a result tells of.
fn number(said: &str) -> Option<i64> {
    if said.starts_with("no row") {
        return Some(0);
    }
    said.split_once(" row").and_then(|(number, _)| number.parse().ok())
}

/// How many rows the last statement of a step counted, gave or changed.
fn figure(sql: &str, came: &Came) -> i64 {
    let printed = i64::try_from(came.lines.len()).unwrap();
    let rows = if came.rows == 0 { printed } else { came.rows };
    let last = sql.rsplit("; ").next().unwrap_or_default();
    // What is prepared in transcripts counts.
    let is_counted =
        last.starts_with("select count(") || last.contains(") select count(") || last.starts_with("execute ");
    if !is_counted {
        return rows;
    }
    let lines = came.lines.iter().rev().take(usize::try_from(rows).unwrap());
    lines.filter_map(|line| line.split('|').next()?.parse::<i64>().ok()).sum()
}

/// What is wrong with the transcript of a finding when it is pasted into `db`.
async fn faults(db: &TestDb, dir: &Path, finding: &Finding) -> Vec<String> {
    let came = paste(db, dir, finding).await;
    let mut faults = Vec::new();
    let mut is_told = false;
    for (number, step) in finding.evidence.iter().enumerate().filter(|(_, step)| step.role.is_some()) {
        match judge(db.server().endpoint().role(), &finding.subject, step, came.get(&number)) {
            Ok(told) => is_told |= told,
            Err(fault) => faults.push(format!("{fault}: {step:?}")),
        }
    }
    // As whoever pasted it, in no transaction: what psql still complains of came behind the last step.
    let behind = came.get(&BEHIND).map(|came| came.errors.join(", "));
    faults.extend(behind.map(|errors| format!("it does not end: {errors}: {:#?}", finding.evidence)));
    if faults.is_empty() && !is_told {
        faults.push(format!("nothing is told: {:#?} {came:?}", finding.evidence));
    }
    faults
}

/// Why the evidence of a finding is for another place than the project's database, if so.
fn elsewhere(finding: &Finding) -> Option<&'static str> {
    let says = |step: &Evidence, words: &[&str]| {
        words.iter().any(|word| step.sql.contains(word) || step.result.contains(word))
    };
    let any = |words: &[&str]| finding.evidence.iter().any(|step| says(step, words));
    if any(&["\\i "]) {
        Some("it applies migrations to an empty database")
    } else if any(&[", a second time", ", applied there", "create database"]) {
        Some("it is of a run of the migrations")
    } else if any(&["on a server with"]) {
        Some("it needs a server with other settings")
    } else if finding.evidence.iter().all(|step| step.role.is_none()) {
        let is_statement = |step: &Evidence| {
            ["select ", "show ", "begin", "set ", "\\"].iter().any(|word| step.sql.starts_with(word))
        };
        // What could be pasted must not be a comment.
        (!finding.evidence.iter().any(is_statement)).then_some("all of it is of files")
    } else {
        None
    }
}

/// What became of the findings of an example.
#[derive(Default)]
struct Looked {
    pasted: usize,
    wrong: Vec<String>,
}

/// Runs a check on one of its examples, and pastes what it finds: into the live database where it looked at one, and
/// else into the project's.
async fn look(root: &Path, check: &dyn Check, example: &Example) -> Looked {
    let dir = root.join(format!("{}.{}", check.id(), example.file));
    fs::create_dir(&dir).unwrap();
    let config = project(&dir, check, example);
    let seen = live(&dir).await;
    let report = run_against(&config, check.id(), seen.as_ref()).await;
    // What differs from the live database is shown in the project's.
    let is_of_live = seen.is_some() && !check.id().starts_with("drift.");
    let context = Context::new(config.project().unwrap()).with_server(config.server().unwrap());
    let mut looked = Looked::default();
    let own = report.findings.iter().filter(|finding| finding.check == check.id());
    for finding in own.filter(|finding| elsewhere(finding).is_none()) {
        looked.pasted += 1;
        // Each begins where the check began.
        let db = if is_of_live { live(&dir).await.unwrap() } else { context.database().await.unwrap() };
        for fault in faults(&db, &dir, finding).await {
            looked.wrong.push(format!("{}/{}: {fault}", check.id(), example.file));
        }
    }
    looked
}

#[rstest]
#[case::access("access")]
#[case::drift("drift")]
#[case::migration("migration")]
#[case::operations("operations")]
#[case::structure("structure")]
#[case::tenancy("tenancy")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_shown_again_by_its_transcript(#[case] family: &str) {
    let root = projects();
    let registry = Registry::standard();
    let cases: Vec<(&dyn Check, &Example)> = of_family(&registry, family)
        .flat_map(|check| check.examples().iter().map(move |example| (check, example)))
        .filter(|(_, example)| example.kind() == Kind::Bad)
        .collect();
    assert!(!cases.is_empty(), "{family}");
    let looked: Vec<(&str, Looked)> = stream::iter(cases)
        .map(async |(check, example)| (check.id(), look(root.path(), check, example).await))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut pasted: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, looked) in &looked {
        *pasted.entry(id).or_default() += looked.pasted;
    }
    let mut wrong: Vec<String> = looked.into_iter().flat_map(|(_, looked)| looked.wrong).collect();
    for (id, count) in pasted {
        match (LEFT_OUT.iter().find(|(left_out, _)| *left_out == id), count) {
            (None, 0) => wrong.push(format!("{id}: nothing of it can be pasted")),
            (Some((_, why)), 1..) => wrong.push(format!("{id}: is left out ({why}), and can be pasted")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_left_out_is_there() {
    for (id, why) in LEFT_OUT {
        assert!(Registry::standard().find(id).is_ok(), "there is no check `{id}` ({why})");
    }
}
