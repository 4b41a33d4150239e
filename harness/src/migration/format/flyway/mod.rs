//! The layout of Flyway: `V<version>__<words>.sql`, `R__<words>.sql`, `B<version>__<words>.sql`, here and in the
//! folders below.

mod config;
mod ledger;
mod statements;

use super::{Clue, Format, Layout, Listing, Reading};
use crate::digest::crc32;
use crate::error::{Error, Result};
use crate::migration::ledger::Ledger;
use crate::migration::name::{NameProblem, ProblemKind, looks_like_migration};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Turn, Version};
use crate::migration::table::TableName;
use config::{Config, ScriptConfig};
use std::collections::BTreeMap;

pub(super) struct Flyway;

/// What a file's name says.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    kind: Kind,
    /// As it is written, with dots.
    version: String,
    words: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Versioned,
    Baseline,
    Undo,
    Repeatable,
}

impl<'a> Name<'a> {
    fn of(path: &'a str) -> Option<Name<'a>> {
        let stem = path.rsplit('/').next()?.strip_suffix(".sql")?;
        let (version, words) = stem.get(1..)?.split_once("__")?;
        let kind = match stem.as_bytes().first()? {
            b'V' => Kind::Versioned,
            b'B' => Kind::Baseline,
            b'U' => Kind::Undo,
            b'R' if version.is_empty() => {
                return Some(Name { kind: Kind::Repeatable, version: String::new(), words });
            }
            _ => return None,
        };
        let version = version.replace('_', ".");
        numbers(&version).map(|_| Name { kind, version, words })
    }

    fn description(&self) -> String {
        self.words.replace('_', " ")
    }
}

/// The numbers of a version, by which versions are compared: `1.0` is `1`.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let mut numbers: Vec<u64> = version
        .split('.')
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect::<Option<_>>()?;
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}

/// A version in the one form that two spellings of it share.
fn normal(version: &str) -> String {
    let numbers = numbers(version).unwrap_or_default();
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// The version of a repeatable migration: it has none but its name.
fn repeatable(description: &str) -> String {
    format!("R__{description}")
}

/// CRC-32 of the lines without their ends, as the signed number that the history has.
fn checksum(text: &str) -> i32 {
    crc32(text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'))).cast_signed()
}

impl Layout for Flyway {
    fn format(&self) -> Format {
        Format::Flyway
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let names: Vec<Name<'_>> = listing.files().filter_map(Name::of).collect();
        // refinery has whole numbers only, and neither of the other kinds.
        let is_telling = |name: &Name<'_>| {
            matches!(name.kind, Kind::Repeatable | Kind::Baseline) || name.version.contains('.')
        };
        let versioned = names.iter().any(|name| name.kind == Kind::Versioned);
        if names.iter().any(is_telling) || listing.files().any(|name| name.ends_with(".sql.conf")) {
            Some(Clue::Contents)
        } else if versioned && listing.nearest(config::AROUND).is_some() {
            Some(Clue::Surroundings)
        } else {
            versioned.then_some(Clue::Names)
        }
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let config = Config::around(listing)?;
        let mut reading =
            Reading { table: config.table.as_deref().map(TableName::parse), ..Reading::default() };
        let mut versioned: BTreeMap<Vec<u64>, Migration> = BTreeMap::new();
        let mut baselines: BTreeMap<Vec<u64>, Migration> = BTreeMap::new();
        let mut undo: Vec<(Vec<u64>, String)> = Vec::new();
        let mut repeatables: BTreeMap<String, Migration> = BTreeMap::new();
        for path in listing.deep_files()? {
            let Some(name) = Name::of(&path) else {
                reading.problems.extend(passed_over(&path)?);
                continue;
            };
            let numbers = numbers(&name.version).unwrap_or_default();
            if name.kind == Kind::Undo {
                undo.push((numbers, path.clone()));
                continue;
            }
            let migration = read(listing, &config, &path, &name)?;
            let other = match name.kind {
                Kind::Repeatable => repeatables.insert(name.description(), migration),
                Kind::Baseline => baselines.insert(numbers, migration),
                _ => versioned.insert(numbers, migration),
            };
            if let Some(other) = other {
                let explanation = format!(
                    "is the same migration as `{}` by its name: flyway refuses the folder",
                    other.name()
                );
                reading.problems.push(NameProblem::fatal(&path, ProblemKind::Duplicate, explanation));
            }
        }
        for (numbers, path) in undo {
            match versioned.get_mut(&numbers) {
                Some(migration) => migration.down = Some(read_script(listing, &path)?),
                None => {
                    let explanation = "undoes a version that no other file brings about";
                    reading.problems.push(NameProblem::fatal(&path, ProblemKind::NoUp, explanation));
                }
            }
        }
        // An empty database begins with the last baseline, which stands for all versions up to its own.
        if let Some((numbers, baseline)) = baselines.pop_last() {
            versioned.retain(|version, _| *version > numbers);
            reading.migrations.push(baseline);
        }
        reading.migrations.extend(versioned.into_values());
        reading.migrations.extend(repeatables.into_values());
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Flyway
    }

    fn outside_a_transaction(&self) -> &'static str {
        "write `executeInTransaction=false` into a file beside it that is called as it is, with `.conf` behind"
    }
}

/// Reads one file.
fn read(listing: &Listing, config: &Config, path: &str, name: &Name<'_>) -> Result<Migration> {
    let script = read_script(listing, path)?;
    let own = ScriptConfig::beside(listing, &script)?;
    let replaced = if config.replaces && own.replaces { config.replace(&script)? } else { script.clone() };
    let is_repeatable = name.kind == Kind::Repeatable;
    // A repeatable migration is another one when its placeholders have other values.
    let checksum = checksum(if is_repeatable { replaced.text() } else { script.text() });
    let version = match name.kind {
        Kind::Repeatable => repeatable(&name.description()),
        Kind::Baseline => format!("B{}", normal(&name.version)),
        _ => normal(&name.version),
    };
    let in_transaction = own.in_transaction && !statements::leaves_transaction(&replaced)?;
    Ok(Migration {
        checksum: Some(checksum.to_string()),
        delivery: if in_transaction { Delivery::Transaction } else { Delivery::Statements },
        turn: if is_repeatable { Turn::Repeatable } else { Turn::InOrder },
        ..Migration::new(Version::Name(version), name.description(), replaced)
    })
}

/// Why flyway does not take a file for a migration, if it was meant as one.
fn passed_over(path: &str) -> Result<Option<NameProblem>> {
    const CALLBACKS: &[&str] = &["before", "after", "createSchema"];
    let file = path.rsplit('/').next().unwrap_or_default();
    if file.ends_with(".sql") && CALLBACKS.iter().any(|callback| file.starts_with(callback)) {
        let message = format!("`{path}` is a callback, which flyway alone runs at its time");
        return Err(Error::usage(message).with_help("set `command` under `[migrations]` to `flyway migrate`"));
    }
    Ok((looks_like_migration(file) && !file.ends_with(".sql.conf")).then(|| {
        let explanation = "is not named `V<version>__<words>.sql` or `R__<words>.sql`: flyway passes it over";
        NameProblem::fatal(path, ProblemKind::Ignored, explanation)
    }))
}

#[cfg(test)]
mod tests;
