//! Statements of the files lost, swapped, cut short.

use super::{Ground, Operator, Site};
use crate::mutants::ground::creates;
use pgharness::catalog::Kind;
use pgharness::migration::Migration;
use pgharness::script::Statement;

/// Whatever a lost statement leaves is another schema, or no schema at all.
const OTHER_SCHEMA: &[&str] = &["drift.snapshot", "migration.clean-apply"];
const FAILS: &[&str] = &["migration.clean-apply"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("statement.drop", OTHER_SCHEMA, 40, |ground| {
        let sites = statements(ground).into_iter().filter(|(_, statement)| shapes_the_schema(statement.text));
        let sites = sites.map(|(migration, statement)| {
            let folder = ground.files.edited(migration, |text| cut(text, &statement, ""));
            Site::files(at(migration, &statement), folder)
        });
        sites.collect()
    }),
    Operator::files("statement.swap", FAILS, 12, |ground| {
        let mut sites = Vec::new();
        for migration in &ground.files.migrations {
            let statements = migration.script.statements();
            for pair in statements.windows(2) {
                let [first, second] = pair else { continue };
                if !ground
                    .tables()
                    .any(|(table, _)| creates(first.text, table) && mentions(second.text, table))
                {
                    continue;
                }
                let folder = ground.files.edited(migration, |text| {
                    let start = offset(text, first);
                    let end = start + second.offset - first.offset + second.text.len();
                    let between = &text[start + first.text.len()..end - second.text.len()];
                    format!("{}{}{between}{}{}", &text[..start], second.text, first.text, &text[end..])
                });
                sites.push(Site::files(at(migration, second), folder));
            }
        }
        sites
    }),
    Operator::files("statement.cut-short", FAILS, 12, |ground| {
        // The second half of a statement is lost: each file's longest.
        let sites = ground.files.migrations.iter().filter_map(|migration| {
            let statements = migration.script.statements();
            let longest = statements.into_iter().max_by_key(|statement| statement.text.len())?;
            // Up to its first parenthesis: what is never closed is no statement, whatever stands behind it.
            let half = format!("{}(", longest.text.split_once('(')?.0);
            let folder = ground.files.edited(migration, |text| cut(text, &longest, &half));
            Some(Site::files(at(migration, &longest), folder))
        });
        sites.collect()
    }),
    Operator::files("file.drop", OTHER_SCHEMA, 12, |ground| {
        let sites = ground.files.migrations.iter().filter(|migration| {
            migration.script.statements().iter().any(|statement| shapes_the_schema(statement.text))
        });
        let sites = sites.map(|migration| {
            let path = ground.files.path(migration);
            Site::files(migration.name(), ground.files.folder.clone().without(path))
        });
        sites.collect()
    }),
    Operator::files("file.swap", FAILS, 12, |ground| {
        let mut sites = Vec::new();
        let migrations: Vec<&Migration> = ground.files.migrations.iter().collect();
        for pair in migrations.windows(2) {
            let [first, second] = pair else { continue };
            let statements = first.script.statements();
            let needs_first = ground.catalog.of_kind(Kind::Table).any(|(table, _)| {
                statements.iter().any(|statement| creates(statement.text, table))
                    && mentions(second.sql(), table)
            });
            if needs_first {
                let (one, other) = (ground.files.path(first), ground.files.path(second));
                let folder = ground.files.folder.clone();
                let texts = (folder.text(one).to_owned(), folder.text(other).to_owned());
                sites.push(Site::files(second.name(), folder.with(one, texts.1).with(other, texts.0)));
            }
        }
        sites
    }),
];

/// All statements of all files.
fn statements(ground: &Ground) -> Vec<(&Migration, Statement<'_>)> {
    let mut all = Vec::new();
    for migration in &ground.files.migrations {
        all.extend(migration.script.statements().into_iter().map(|statement| (migration, statement)));
    }
    all
}

/// Whether a statement is one of those that make a schema; others write rows, or set something for those behind them.
pub(super) fn shapes_the_schema(statement: &str) -> bool {
    let word: String = statement.chars().take_while(char::is_ascii_alphabetic).collect();
    let words = ["create", "alter", "grant", "revoke", "drop", "comment"];
    words.iter().any(|shaping| word.eq_ignore_ascii_case(shaping))
}

/// Whether a text speaks of a table by its whole name.
fn mentions(text: &str, table: &str) -> bool {
    text.match_indices(table).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        !text[..at].ends_with(is_part) && !text[at + table.len()..].starts_with(is_part)
    })
}

/// Where a statement begins in the file's text: a byte order mark is no part of the script.
fn offset(text: &str, statement: &Statement<'_>) -> usize {
    statement.offset + if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

/// The text with another in place of a statement.
fn cut(text: &str, statement: &Statement<'_>, other: &str) -> String {
    let start = offset(text, statement);
    format!("{}{other}{}", &text[..start], &text[start + statement.text.len()..])
}

/// Where a statement is, for people.
fn at(migration: &Migration, statement: &Statement<'_>) -> String {
    let line = 1 + migration.sql()[..statement.offset].matches('\n').count();
    format!("{}:{line}", migration.name())
}
