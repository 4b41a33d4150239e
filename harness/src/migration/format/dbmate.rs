//! The layout of dbmate: `<number>_<words>.sql` with `-- migrate:up` and `-- migrate:down`.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::error::Result;
use crate::ident::quote_literal;
use crate::migration::ledger::Ledger;
use crate::migration::name::{NameProblem, ProblemKind, leading_number, looks_like_migration, out_of_order};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::took::Took;
use crate::script::{Purpose, Script};
use std::collections::BTreeMap;
use std::iter::once;

pub(super) struct Dbmate;

/// What stands behind `-- migrate:up` or `-- migrate:down`, if the line is that.
fn directive<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest =
        line.trim_start().strip_prefix("--")?.trim_start().strip_prefix("migrate:")?.strip_prefix(name)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some(rest)
}

/// The two halves of a file.
struct Halves {
    up: Script,
    delivery: Delivery,
    down: Script,
}

impl Halves {
    fn of(script: &Script) -> Result<Halves> {
        const HELP: &str =
            "write `-- migrate:up`, what it does, `-- migrate:down` and what undoes it, in this order";
        let (mut up, mut down) = (None, None);
        let mut at = 0;
        for line in script.text().split_inclusive('\n') {
            let end = at + line.len();
            let refuse = |what: &str| Err(script.refuse(Purpose::Migration, at, what, HELP));
            if let Some(options) = directive(line, "up") {
                match (up, down) {
                    (None, None) => up = Some((end, options)),
                    (None, Some(_)) => return refuse("goes down before it goes up"),
                    (Some(_), _) => return refuse("goes up a second time"),
                }
            } else if directive(line, "down").is_some() {
                if down.is_some() {
                    return refuse("goes down a second time");
                }
                down = Some((at, end));
            } else if up.is_none()
                && down.is_none()
                && !line.trim().is_empty()
                && !line.trim_start().starts_with("--")
            {
                return refuse("holds something before `-- migrate:up`");
            }
            at = end;
        }
        let missing = |what: &str| Err(script.refuse(Purpose::Migration, 0, what, HELP));
        match (up, down) {
            (None, _) => missing("has no `-- migrate:up`"),
            (_, None) => missing("has no `-- migrate:down`, without which dbmate refuses it"),
            (Some((up, options)), Some((up_end, down))) => {
                let leaves = options.split_whitespace().any(|option| option == "transaction:false");
                Ok(Halves {
                    up: script.keeping(once(up..up_end)),
                    delivery: if leaves { Delivery::Message } else { Delivery::Transaction },
                    down: script.keeping(once(down..script.text().len())),
                })
            }
        }
    }
}

impl Layout for Dbmate {
    fn format(&self) -> Format {
        Format::Dbmate
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let fits = |text: &str| text.lines().any(|line| directive(line, "up").is_some());
        listing.any_text(fits).then_some(Clue::Contents)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
        for name in listing.files() {
            let Some(version) = leading_number(name).filter(|_| name.ends_with(".sql")) else {
                if looks_like_migration(name) {
                    let explanation = "does not begin with a number: dbmate passes it over without a word";
                    reading.problems.push(NameProblem::fatal(name, ProblemKind::Ignored, explanation));
                }
                continue;
            };
            if let Some(other) = versions.insert(version, name) {
                let explanation =
                    format!("has version {version}, as `{other}` has: dbmate records it once only");
                reading.problems.push(NameProblem::fatal(name, ProblemKind::Duplicate, explanation));
            }
            let halves = Halves::of(&read_script(listing, name)?)?;
            let words = name[version.len()..].trim_start_matches('_').trim_end_matches(".sql");
            reading.migrations.push(Migration {
                delivery: halves.delivery,
                down: Some(halves.down),
                ..Migration::new(Version::Name(version.to_owned()), words, halves.up)
            });
        }
        if let Some((first, second)) = out_of_order(versions.values().copied()) {
            let explanation = format!(
                "runs before `{second}` though its number is larger: dbmate goes by the names as text"
            );
            reading.problems.push(NameProblem::hazard(first, ProblemKind::Order, explanation));
        }
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Dbmate
    }

    fn outside_a_transaction(&self) -> &'static str {
        "give it a file of its own with `-- migrate:up transaction:false`: dbmate sends that as one message, of which the server \
         makes a transaction again if it holds more than one statement"
    }
}

impl Ledger for Dbmate {
    fn table(&self) -> &'static str {
        "schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version"]
    }

    fn create(&self, table: &str) -> String {
        format!("create table {table} (version varchar primary key)")
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select version::text, version::text, null::text, null::bigint, 'at a time that is not kept', true \
             from {table} order by {table}.version"
        )
    }

    fn record(&self, table: &str, migration: &Migration, _took: Took) -> String {
        format!("insert into {table} (version) values ({})", quote_literal(&migration.version.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn script(text: &str) -> Script {
        Script::new("1_a.sql", "1_a.sql", text)
    }

    #[rstest]
    #[case(
        "-- note\n-- migrate:up\nselect 1;\n-- migrate:down\nselect 2;\n",
        "select 1;",
        Delivery::Transaction
    )]
    #[case(
        "--migrate:up transaction:false\nselect 1;\n--migrate:down\nselect 2;",
        "select 1;",
        Delivery::Message
    )]
    #[case(
        "-- migrate:up\n-- migrate:upwards\nselect 1;\n-- migrate:down\nselect 2;",
        "-- migrate:upwards\nselect 1;",
        Delivery::Transaction
    )]
    fn halves_are_told_apart(#[case] text: &str, #[case] up: &str, #[case] delivery: Delivery) {
        let halves = Halves::of(&script(text)).unwrap();
        assert_eq!(halves.up.text().trim(), up);
        assert_eq!(halves.down.text().trim_end_matches(['\n', ';']).trim(), "select 2");
        assert_eq!(halves.delivery, delivery);
        assert_eq!(halves.up.text().find("select 1"), text.find("select 1"), "places stay");
    }

    #[rstest]
    #[case("-- nothing\n", "has no `-- migrate:up`", 1)]
    #[case("-- migrate:up\nselect 1;\n", "has no `-- migrate:down`", 1)]
    #[case("-- x\nselect 1;\n-- migrate:up\n", "holds something before `-- migrate:up`", 2)]
    #[case("-- migrate:down\n-- migrate:up\n", "goes down before it goes up", 2)]
    #[case("-- migrate:up\n\n-- migrate:up\n", "goes up a second time", 3)]
    fn what_dbmate_refuses_is_shown(#[case] text: &str, #[case] what: &str, #[case] line: usize) {
        let error = Halves::of(&script(text)).err().unwrap();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains(&format!("1_a.sql:{line}:1")), "{error}");
    }
}
