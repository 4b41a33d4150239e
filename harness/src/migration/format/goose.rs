//! The layout of goose: `<number>_<words>.sql` with `-- +goose Up` and `-- +goose Down`.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::migration::ledger::{Ledger, local};
use crate::migration::name::{NameProblem, ProblemKind};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::took::Took;
use crate::script::{Purpose, Script, split};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) struct Goose;

const HELP: &str = "write `-- +goose Up`, what it does, `-- +goose Down` and what undoes it, in this order";

/// What stands behind `-- +goose`, if the line is that.
fn annotation(line: &str) -> Option<&str> {
    Some(line.trim().strip_prefix("--")?.trim_start().strip_prefix("+goose")?.trim())
}

/// Whether goose takes the end of the line for the end of a statement.
fn ends_statement(line: &str) -> bool {
    line.split_whitespace()
        .take_while(|word| !word.starts_with("--"))
        .last()
        .is_some_and(|word| word.ends_with(';'))
}

/// One half of a file: what it holds, and which parts of that are one statement whatever they hold.
#[derive(Debug, Default)]
struct Half {
    parts: Vec<Range<usize>>,
    blocks: Vec<Range<usize>>,
}

/// What a file says.
#[derive(Debug)]
struct File {
    up: Script,
    delivery: Delivery,
    down: Option<Script>,
}

impl File {
    fn of(script: &Script) -> Result<File> {
        let (mut up, mut down): (Option<Half>, Option<Half>) = (None, None);
        let mut block: Option<usize> = None;
        let mut delivery = Delivery::Transaction;
        let mut at = 0;
        for line in script.text().split_inclusive('\n') {
            let end = at + line.len();
            let refuse = |what: &str, help: &str| Err(script.refuse(Purpose::Migration, at, what, help));
            match annotation(line) {
                Some("Up") if up.is_some() => {
                    return refuse("goes up a second time, or after it went down", HELP);
                }
                Some("Up") => up = Some(Half::default()),
                Some("Down") if up.is_none() || down.is_some() => {
                    return refuse("goes down before it goes up, or a second time", HELP);
                }
                Some("Down") => down = Some(Half::default()),
                Some("StatementBegin") if up.is_none() || block.is_some() => {
                    return refuse("begins a statement within another one, or before `-- +goose Up`", HELP);
                }
                Some("StatementBegin") => block = Some(end),
                Some("StatementEnd") => match (down.as_mut().or(up.as_mut()), block.take()) {
                    (Some(half), Some(start)) => half.blocks.push(start..at),
                    _ => {
                        return refuse(
                            "ends a statement that it did not begin",
                            "add `-- +goose StatementBegin`",
                        );
                    }
                },
                Some("NO TRANSACTION") => delivery = Delivery::Statements,
                Some("ENVSUB OFF") => {}
                Some("ENVSUB ON") => {
                    return refuse(
                        "takes values from the environment, which goose alone can do",
                        "set `command` under `[migrations]` to `goose … up`",
                    );
                }
                Some(_) => return refuse("holds an annotation that goose does not know", HELP),
                None => match down.as_mut().or(up.as_mut()) {
                    Some(half) => half.parts.push(at..end),
                    None if line.trim().is_empty() || line.trim_start().starts_with("--") => {}
                    None => return refuse("holds something before `-- +goose Up`", HELP),
                },
            }
            at = end;
        }
        if let Some(start) = block {
            let help = "add `-- +goose StatementEnd`";
            return Err(script.refuse(
                Purpose::Migration,
                start,
                "begins a statement that it does not end",
                help,
            ));
        }
        let Some(up) = up else {
            return Err(script.refuse(Purpose::Migration, 0, "has no `-- +goose Up`", HELP));
        };
        let kept = script.keeping(up.parts.iter().cloned());
        up.refuse_cuts(script, &kept)?;
        Ok(File { up: kept, delivery, down: down.map(|down| script.keeping(down.parts)) })
    }
}

impl Half {
    /// Refuses a file that goose cuts in other places than the server would.
    fn refuse_cuts(&self, script: &Script, kept: &Script) -> Result<()> {
        let statements = split(kept.text());
        let last = statements.last().map_or(0, |statement| statement.offset);
        // What is added begins a statement of its own, unless the last one goes on.
        let is_open = split(&format!("{}\nx", kept.text())).len() == statements.len();
        for statement in &statements {
            let end = statement.offset + statement.text.len();
            let is_block =
                self.blocks.iter().any(|block| block.start <= statement.offset && end <= block.end);
            if is_block {
                continue;
            }
            let mut at = statement.offset;
            for line in statement.text.split_inclusive('\n') {
                if at + line.len() < end && ends_statement(line) {
                    return Err(script.refuse(
                        Purpose::Migration,
                        at,
                        "holds a statement that goose cuts here, at the semicolon at the end of the line",
                        "put `-- +goose StatementBegin` and `-- +goose StatementEnd` around the statement",
                    ));
                }
                at += line.len();
            }
            if is_open && statement.offset == last {
                let what = "ends in a statement without a semicolon, which goose refuses";
                return Err(script.refuse(Purpose::Migration, statement.offset, what, "add the semicolon"));
            }
        }
        Ok(())
    }
}

impl Layout for Goose {
    fn format(&self) -> Format {
        Format::Goose
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let fits = |text: &str| text.lines().any(|line| annotation(line).is_some());
        listing.any_text(fits).then_some(Clue::Contents)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        let mut found: BTreeMap<i64, Migration> = BTreeMap::new();
        for name in listing.files() {
            let number =
                name.split_once('_').and_then(|(number, _)| number.parse::<i64>().ok()).filter(|n| *n > 0);
            match number {
                Some(_) if name.ends_with(".go") => {
                    let message = format!("migration `{name}` is written in Go, which goose alone can run");
                    return Err(Error::usage(message)
                        .with_help("set `command` under `[migrations]` to the program that runs it"));
                }
                Some(version) if name.ends_with(".sql") => {
                    let file = File::of(&read_script(listing, name)?)?;
                    let words =
                        name.split_once('_').map_or(name, |(_, words)| words).trim_end_matches(".sql");
                    let migration = Migration {
                        delivery: file.delivery,
                        down: file.down,
                        ..Migration::new(Version::Number(version), words, file.up)
                    };
                    if let Some(other) = found.insert(version, migration) {
                        let explanation = format!(
                            "has version {version}, as `{}` has: goose refuses the folder",
                            other.name()
                        );
                        reading.problems.push(NameProblem::fatal(name, ProblemKind::Duplicate, explanation));
                    }
                }
                None if name.ends_with(".sql") => {
                    let explanation = "has no number above zero before its first underscore: goose refuses the whole folder";
                    reading.problems.push(NameProblem::fatal(name, ProblemKind::NoVersion, explanation));
                }
                _ => {}
            }
        }
        reading.migrations = found.into_values().collect();
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Goose
    }

    fn outside_a_transaction(&self) -> &'static str {
        "put `-- +goose NO TRANSACTION` on the file's first line: its statements are then sent one by one"
    }
}

impl Ledger for Goose {
    fn table(&self) -> &'static str {
        "goose_db_version"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["id", "version_id", "is_applied", "tstamp"]
    }

    fn create(&self, table: &str) -> String {
        // The row of version 0 is how goose knows that the table is whole.
        format!(
            "create table {table} (id integer primary key generated by default as identity, version_id bigint not null, \
             is_applied boolean not null, tstamp timestamp not null default now()); \
             insert into {table} (version_id, is_applied) values (0, true)"
        )
    }

    fn read(&self, table: &str) -> String {
        // Older releases record an undone migration by another row.
        format!(
            "select v.version_id::text, v.version_id::text, null::text, null::bigint, {}, true \
             from {table} v where v.version_id > 0 and v.is_applied \
               and not exists (select from {table} later where later.version_id = v.version_id and later.id > v.id) \
             order by v.id",
            local("v.tstamp")
        )
    }

    fn locks(&self, _database: &str, _table: &QualifiedName) -> Vec<i64> {
        // Taken by programs that ask goose for it; releases differ in whose CRC of `goose` it is.
        vec![4_097_083_626, 5_887_940_537_704_921_958]
    }

    fn record(&self, table: &str, migration: &Migration, _took: Took) -> String {
        format!(
            "insert into {table} (version_id, is_applied, tstamp) values ({}, true, pg_catalog.clock_timestamp())",
            migration.version
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn script(text: &str) -> Script {
        Script::new("1_a.sql", "1_a.sql", text)
    }

    #[test]
    fn a_file_is_read() {
        let text = "-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose StatementBegin\ndo $$ begin\n  null;\nend $$;\n\
                    -- +goose StatementEnd\nselect 1 -- a;\n;\n-- +goose Down\nselect 2;\n";
        let file = File::of(&script(text)).unwrap();
        assert_eq!(file.delivery, Delivery::Statements);
        let statements: Vec<&str> = split(file.up.text()).iter().map(|one| one.text).collect();
        assert_eq!(statements, ["do $$ begin\n  null;\nend $$", "select 1"]);
        assert_eq!(file.up.text().find("do $$"), text.find("do $$"), "places stay");
        assert_eq!(file.down.unwrap().text().trim(), "select 2;");
    }

    #[rstest]
    #[case("-- x\n", "has no `-- +goose Up`", 1)]
    #[case("select 1;\n-- +goose Up\n", "holds something before `-- +goose Up`", 1)]
    #[case("-- +goose Up\nselect 1;\n-- +goose Up\n", "goes up a second time", 3)]
    #[case("-- +goose Down\n", "goes down before it goes up", 1)]
    #[case(
        "-- +goose Up\n-- +goose StatementBegin\nselect 1;\n",
        "begins a statement that it does not end",
        3
    )]
    #[case("-- +goose Up\n-- +goose StatementEnd\n", "ends a statement that it did not begin", 2)]
    #[case("-- +goose Up\n-- +goose ENVSUB ON\n", "takes values from the environment", 2)]
    #[case("-- +goose Up\n-- +goose up\n", "holds an annotation that goose does not know", 2)]
    #[case("-- +goose Up\nselect 1;\nselect 2\n", "ends in a statement without a semicolon", 3)]
    #[case("-- +goose Up\ndo $$ begin\n  null;\nend $$;\n", "holds a statement that goose cuts here", 3)]
    fn what_goose_refuses_is_shown(#[case] text: &str, #[case] what: &str, #[case] line: usize) {
        let error = File::of(&script(text)).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains(&format!("1_a.sql:{line}:1")), "{error}");
    }
}
