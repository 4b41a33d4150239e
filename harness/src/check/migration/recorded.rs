//! What was recorded of migrations that may be applied somewhere, and what has become of them.

use crate::migration::{Format, Migration, Migrations, Turn};

/// A migration, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The checksum of its file; see [`Migration::fingerprint`].
    pub(super) checksum: String,
    pub(super) version: String,
    /// The name of its file.
    pub(super) name: String,
}

/// What has become of a migration that must stay what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach<'a> {
    /// It is another one.
    Edited { then: &'a Recorded, now: &'a Migration },
    /// It is gone.
    Removed { then: &'a Recorded },
    /// It has another number.
    Renumbered { then: &'a Recorded, now: &'a Migration },
    /// A new one stands before it.
    Overtaken { then: &'a Recorded, by: &'a Migration },
}

/// What a tool does where a new migration stands before applied ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// It applies it.
    Applies,
    /// It applies nothing.
    Refuses,
    /// It never applies it.
    Forgets,
}

impl Recorded {
    /// As it is now.
    pub(super) fn of(migration: &Migration) -> Recorded {
        Recorded {
            checksum: migration.fingerprint(),
            version: migration.version.to_string(),
            name: migration.name().to_owned(),
        }
    }

    /// All of them but those that are meant to be edited.
    pub(super) fn all(migrations: &Migrations) -> Vec<Recorded> {
        migrations.iter().filter(|one| one.turn != Turn::Repeatable).map(Recorded::of).collect()
    }

    /// Whether `migration` may be the same under another number.
    fn is_like(&self, migration: &Migration) -> bool {
        let words =
            |name: &str| name.split_once('_').map(|(_, words)| words.trim_start_matches('_').to_owned());
        self.checksum == migration.fingerprint()
            || words(&self.name).is_some_and(|own| words(migration.name()) == Some(own))
    }
}

/// What has become of `then`, in the order of what it was.
pub(super) fn breaches<'a>(then: &'a [Recorded], now: &'a Migrations) -> Vec<Breach<'a>> {
    let is_flyway = now.format() == Some(Format::Flyway);
    let is_known = |migration: &&Migration| {
        let version = migration.version.to_string();
        migration.turn == Turn::Repeatable || then.iter().any(|one| one.version == version)
    };
    let mut new: Vec<&Migration> = now.iter().filter(|one| !is_known(one)).collect();
    let mut found = Vec::new();
    for then in then {
        match now.iter().find(|one| one.turn != Turn::Repeatable && one.version.to_string() == then.version) {
            // Flyway alone looks at the words too.
            Some(now) if now.fingerprint() != then.checksum || is_flyway && now.name() != then.name => {
                found.push(Breach::Edited { then, now });
            }
            Some(_) => {}
            None => match new.iter().position(|one| then.is_like(one)) {
                Some(place) => found.push(Breach::Renumbered { then, now: new.remove(place) }),
                None => found.push(Breach::Removed { then }),
            },
        }
    }
    // What was renumbered is told already.
    for by in new.into_iter().filter(|one| one.turn == Turn::InOrder) {
        let behind = now.iter().skip_while(|one| *one != by);
        let mut overtaken = behind.filter_map(|one| {
            let version = one.version.to_string();
            then.iter().find(|then| then.version == version)
        });
        if let Some(then) = overtaken.next() {
            found.push(Breach::Overtaken { then, by });
        }
    }
    found
}

/// What the tool of `format` does with a late migration, unless it is told otherwise; where nothing else applies them,
/// the built-in runner.
pub(super) fn late(format: Format) -> Late {
    match format {
        Format::Sqlx | Format::Diesel | Format::Dbmate | Format::Prisma => Late::Applies,
        Format::GolangMigrate => Late::Forgets,
        _ => Late::Refuses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Migrations) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let migrations = Migrations::load(dir.path(), Format::Sqlx).unwrap();
        (dir, migrations)
    }

    #[rstest]
    #[case::same(&[("1_a.sql", "a"), ("3_b.sql", "b")], &[])]
    #[case::more(&[("1_a.sql", "a"), ("3_b.sql", "b"), ("4_c.sql", "c")], &[])]
    #[case::other_words(&[("1_x.sql", "a"), ("3_b.sql", "b")], &[])]
    #[case::edited(&[("1_a.sql", "a"), ("3_b.sql", "B")], &["3_b.sql edited"])]
    #[case::removed(&[("3_b.sql", "b")], &["1_a.sql removed"])]
    #[case::renumbered(&[("1_a.sql", "a"), ("4_b.sql", "b")], &["3_b.sql is 4_b.sql"])]
    #[case::and_edited(&[("1_a.sql", "a"), ("4_b.sql", "B")], &["3_b.sql is 4_b.sql"])]
    #[case::overtaken(&[("1_a.sql", "a"), ("2_c.sql", "c"), ("3_b.sql", "b")], &["3_b.sql behind 2_c.sql"])]
    #[case::both(&[("1_a.sql", "A"), ("2_c.sql", "c")], &["1_a.sql edited", "3_b.sql removed"])]
    fn what_has_become_of_them_is_told(#[case] now: &[(&str, &str)], #[case] expect: &[&str]) {
        let (_then, then) = folder(&[("1_a.sql", "a"), ("3_b.sql", "b")]);
        let (_now, now) = folder(now);
        let then = Recorded::all(&then);
        let told: Vec<String> = breaches(&then, &now)
            .iter()
            .map(|breach| match breach {
                Breach::Edited { then, .. } => format!("{} edited", then.name),
                Breach::Removed { then } => format!("{} removed", then.name),
                Breach::Renumbered { then, now } => format!("{} is {}", then.name, now.name()),
                Breach::Overtaken { then, by } => format!("{} behind {}", then.name, by.name()),
            })
            .collect();
        assert_eq!(told, expect);
    }
}
