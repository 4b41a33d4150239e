//! Migrations as steps of a transcript.

use crate::check::Project;
use crate::check::migrator::shown_path;
use crate::check::walk::{Step, Walk};
use crate::finding::Evidence;
use crate::migration::Migration;

/// What psql is to be given to do as a migration does: its file, or the part of it that is run.
pub(super) fn transcript(project: &Project, migration: &Migration) -> String {
    if migration.script.is_whole() {
        format!("\\i {}", psql_quoted(&shown_path(project, migration.path())))
    } else {
        format!("-- {}\n{}", migration.name(), migration.script.shown())
    }
}

/// The migrations before a step, applied.
pub(super) fn applied_before(project: &Project, walk: &Walk, step: &Step<'_>) -> Option<Evidence> {
    let before: Vec<String> =
        walk.steps().take(step.number).map(|before| transcript(project, before.migration)).collect();
    (!before.is_empty())
        .then(|| Evidence::as_role(walk.migrator.role(&walk.db), before.join("\n"), "applied"))
}

/// An argument of a command of psql's own.
pub(super) fn psql_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration;

    #[test]
    fn of_a_file_that_is_half_a_way_back_the_way_there_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let project = Project { dir: dir.path().to_owned(), ..Project::default() };
        let shown = |name: &str, text: &str| {
            let folder = tempfile::tempdir_in(dir.path()).unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
            let migrations = migration::Migrations::load(folder.path(), migration::Format::Auto).unwrap();
            let shown = transcript(&project, migrations.iter().next().unwrap());
            shown.replace(&format!("{}/", folder.path().file_name().unwrap().display()), "")
        };
        assert_eq!(shown("1_a.sql", "select 1;\n"), "\\i 1_a.sql");
        assert_eq!(
            shown("1_a.sql", "-- migrate:up\ncreate table t ();\nselect 1\n-- migrate:down\ndrop table t;\n"),
            "-- 1_a.sql\ncreate table t ();\nselect 1;"
        );
        assert_eq!(
            shown("1_a.sql", "-- +goose Up\ncreate table t ();\n-- +goose Down\ndrop table t;\n"),
            "-- 1_a.sql\ncreate table t ();"
        );
    }

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(psql_quoted("migrations/0001_a.sql"), "migrations/0001_a.sql");
        assert_eq!(psql_quoted("it's here/a.sql"), "'it''s here/a.sql'");
    }
}
