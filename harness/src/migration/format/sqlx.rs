//! The layout of sqlx 0.9: `<number>_<words>.sql`, or the pair `.up.sql` and `.down.sql`.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::error::Result;
use crate::migration::name::{NameProblem, ProblemKind, looks_like_migration, out_of_order};
use crate::migration::source::{Migration, Version, read_script};
use crate::script::Script;
use std::collections::BTreeMap;

pub(super) struct Sqlx;

/// What sqlx looks for in the first bytes of a file.
const DIRECTIVE: &str = "-- no-transaction";

/// The version in a name that sqlx takes for a migration: what stands before the first underscore.
fn version(name: &str) -> Option<i64> {
    let (number, rest) = name.split_once('_')?;
    // sqlx would take a sign too; no sane name has one.
    (rest.ends_with(".sql") && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| number.parse().ok())
        .flatten()
}

fn is_down(name: &str) -> bool {
    name.ends_with(".down.sql")
}

impl Layout for Sqlx {
    fn format(&self) -> Format {
        Format::Sqlx
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let scripts = listing.files().filter(|name| name.ends_with(".sql"));
        let (fit, others): (Vec<&str>, Vec<&str>) = scripts.partition(|name| version(name).is_some());
        // A stray file must not hide what the folder is.
        (!fit.is_empty() && fit.len() >= others.len()).then_some(Clue::Names)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        let mut ups: BTreeMap<i64, &str> = BTreeMap::new();
        let mut downs: BTreeMap<i64, &str> = BTreeMap::new();
        for name in listing.files() {
            let Some(version) = version(name) else {
                reading.problems.extend(passed_over(name));
                continue;
            };
            let half = if is_down(name) { &mut downs } else { &mut ups };
            if let Some(other) = half.insert(version, name) {
                reading.problems.push(NameProblem::fatal(
                    name,
                    ProblemKind::Duplicate,
                    format!("has version {version}, as `{other}` has: give one of them another number"),
                ));
            }
        }
        if let Some((first, second)) = out_of_order(ups.values().copied()) {
            reading.problems.push(NameProblem::hazard(
                second,
                ProblemKind::Order,
                format!(
                    "sorts behind `{first}` by name though its number is smaller: sqlx goes by the number, everybody who \
                     lists the folder by the name; pad the numbers to one width"
                ),
            ));
        }
        for (version, name) in &downs {
            if !ups.contains_key(version) {
                reading.problems.push(NameProblem::fatal(
                    name,
                    ProblemKind::NoUp,
                    format!("undoes version {version}, which no other file brings about"),
                ));
            }
        }
        for (version, name) in ups {
            let script = read_script(listing, name)?;
            let down = downs.get(&version).map(|down| read_script(listing, down)).transpose()?;
            if down.is_none() && name.ends_with(".up.sql") {
                reading.problems.push(NameProblem::hazard(
                    name,
                    ProblemKind::NoDown,
                    "has no `.down.sql`: sqlx cannot undo it, nor what came before it",
                ));
            }
            let transactional = !opts_out(&script);
            reading.problems.extend(unseen_directive(&script));
            reading.migrations.push(Migration::new(Version::Number(version), script, transactional, down));
        }
        Ok(reading)
    }
}

/// Whether the file asks to run outside a transaction, at its very beginning or where sqlx does not see it.
fn opts_out(script: &Script) -> bool {
    script.header().any(|line| line.to_ascii_lowercase().starts_with("no-transaction"))
}

/// A directive that is meant, and that sqlx does not see.
fn unseen_directive(script: &Script) -> Option<NameProblem> {
    if !opts_out(script) || (script.text().starts_with(DIRECTIVE) && !script.had_bom()) {
        return None;
    }
    let why = if script.had_bom() {
        "a byte order mark stands before it"
    } else {
        "it is not the first thing in the file, letter by letter"
    };
    Some(NameProblem::hazard(
        script.name(),
        ProblemKind::Directive,
        format!(
            "asks for `{DIRECTIVE}`, which sqlx does not see since {why}: sqlx runs it in a transaction, \
             this harness does not"
        ),
    ))
}

/// Why sqlx does not take `name` for a migration, if it was meant as one.
fn passed_over(name: &str) -> Option<NameProblem> {
    if !looks_like_migration(name) || (!name.ends_with(".sql") && name.to_ascii_lowercase().ends_with(".sql"))
    {
        // Either no migration, or an ending in capitals, which is told for all formats.
        return None;
    }
    let (kind, explanation) = match name.split_once('_') {
        _ if !name.ends_with(".sql") => {
            (ProblemKind::Ignored, "does not end in `.sql`: sqlx passes it over without a word")
        }
        None => {
            (ProblemKind::Ignored, "has no underscore after a number: sqlx passes it over without a word")
        }
        Some((number, _)) if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() => (
            ProblemKind::NoVersion,
            "has a number that does not fit in 64 bits: sqlx refuses the whole folder",
        ),
        Some(_) => (
            ProblemKind::NoVersion,
            "has no number before its first underscore: sqlx refuses the whole folder",
        ),
    };
    // A copy that an editor left is worth a word, not a refusal.
    Some(match kind {
        ProblemKind::Ignored if !name.ends_with(".sql") => NameProblem::hazard(name, kind, explanation),
        _ => NameProblem::fatal(name, kind, explanation),
    })
}

#[cfg(test)]
mod tests {
    use crate::migration::{Format, Migrations, ProblemKind, problems};
    use rstest::rstest;
    use std::fs;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[rstest]
    #[case(&["1_a.sql", "01_b.sql"], ProblemKind::Duplicate, true)]
    #[case(&["0001_a.sql", "0002-b.sql"], ProblemKind::Ignored, true)]
    #[case(&["0001_a.sql", "0002_b.sql.bak"], ProblemKind::Ignored, false)]
    #[case(&["0001_a.sql", "x_b.sql"], ProblemKind::NoVersion, true)]
    #[case(&["0001_a.sql", "99999999999999999999_b.sql"], ProblemKind::NoVersion, true)]
    #[case(&["2_a.sql", "10_b.sql"], ProblemKind::Order, false)]
    #[case(&["0001_a.up.sql", "0002_b.down.sql"], ProblemKind::NoUp, true)]
    fn a_name_that_sqlx_reads_otherwise_is_told(
        #[case] names: &[&str],
        #[case] kind: ProblemKind,
        #[case] fatal: bool,
    ) {
        let dir = folder(&names.iter().map(|name| (*name, "select 1;")).collect::<Vec<_>>());
        let found = problems(dir.path(), Format::Sqlx).unwrap();
        let found: Vec<_> = found.iter().map(|problem| (problem.kind, problem.fatal)).collect();
        assert!(found.contains(&(kind, fatal)), "{found:?}");
        assert_eq!(Migrations::load(dir.path(), Format::Sqlx).is_err(), fatal);
    }

    #[rstest]
    #[case("-- no-transaction\nselect 1;", false, false)]
    #[case("\u{feff}-- no-transaction\nselect 1;", false, true)]
    #[case("-- Copyright\n\n-- no-transaction\nselect 1;", false, true)]
    #[case("--no-transaction\nselect 1;", false, true)]
    #[case("select 1;\n-- no-transaction\n", true, false)]
    #[case("select 1;", true, false)]
    fn the_directive_is_found_and_told(#[case] text: &str, #[case] transactional: bool, #[case] told: bool) {
        let dir = folder(&[("0001_a.sql", text)]);
        let migrations = Migrations::load(dir.path(), Format::Sqlx).unwrap();
        assert_eq!(migrations.iter().next().unwrap().transactional, transactional);
        let kinds: Vec<_> = migrations.problems().iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds.contains(&ProblemKind::Directive), told, "{kinds:?}");
    }

    #[test]
    fn numbers_order_the_files() {
        let dir =
            folder(&[("10_c.sql", "select 3;"), ("2_b.up.sql", "select 2;"), ("2_b.down.sql", "select -2;")]);
        let migrations = Migrations::load(dir.path(), Format::Auto).unwrap();
        let found: Vec<_> = migrations.iter().map(|m| (m.version.to_string(), m.down.is_some())).collect();
        assert_eq!(found, [("2".to_owned(), true), ("10".to_owned(), false)]);
    }
}
