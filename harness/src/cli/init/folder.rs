//! What is in a project's folder.

use super::compose::{Image, image_in};
use crate::error::{Attempt, ErrorKind, Result};
use crate::migration::{Format, Migrations};
use std::fs;
use std::path::{Path, PathBuf};

/// Where folders of migrations lie.
const MIGRATIONS: &[&str] = &[
    "migrations",
    "db/migrations",
    "database/migrations",
    "sql/migrations",
    "prisma/migrations",
    "supabase/migrations",
    "db/migration",
    "src/main/resources/db/migration",
    "internal/db/migrations",
    "db/migrate",
    "sql",
];

/// Files that tell of a tool whose migrations are programs, the command that applies them, and how the tool says
/// whether its model agrees.
const COMMANDS: &[(&str, &str, Option<&str>)] = &[
    ("alembic.ini", "alembic upgrade head", Some("alembic check")),
    ("manage.py", "python manage.py migrate", Some("python manage.py makemigrations --check --dry-run")),
    ("bin/rails", "bin/rails db:migrate", None),
    ("knexfile.js", "npx knex migrate:latest", None),
    ("knexfile.ts", "npx knex migrate:latest", None),
    ("drizzle.config.ts", "npx drizzle-kit migrate", None),
    ("ormconfig.json", "npx typeorm migration:run", None),
];

/// Where SQL lies that creates roles and the like, as patterns.
const BOOTSTRAP: &[&str] =
    &["migrations/bootstrap/*.sql", "db/bootstrap/*.sql", "bootstrap/*.sql", "db/roles.sql", "roles.sql"];

/// Where seed data lie, as patterns.
const FIXTURES: &[&str] = &[
    "fixtures/base/*.sql",
    "fixtures/*.sql",
    "db/fixtures/*.sql",
    "seeds/*.sql",
    "db/seeds/*.sql",
    "supabase/seed.sql",
    "db/seed.sql",
    "seed.sql",
];

/// How its migrations are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Migrated {
    /// From a folder, whose files are laid out as a tool does.
    Folder { dir: String, format: Format, files: usize },
    /// By a command, which a file tells of.
    Command { line: String, file: String, model: Option<String> },
}

/// What is in a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) migrated: Option<Migrated>,
    /// Folders that look like migrations and cannot be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
    /// Patterns that find files.
    pub(super) bootstrap: Option<String>,
    pub(super) fixtures: Option<String>,
    pub(super) image: Option<Image>,
    /// Whether there are named queries, recorded statements of sqlx, a committed snapshot.
    pub(super) has_queries: bool,
    pub(super) has_sqlx: bool,
    pub(super) has_snapshot: bool,
}

impl Folder {
    /// Looks at what is in `dir`.
    ///
    /// # Errors
    /// There is no such folder.
    pub(super) fn look(dir: &Path) -> Result<Folder> {
        fs::read_dir(dir).attempt(ErrorKind::Usage, || format!("failed to look into `{}`", dir.display()))?;
        let mut folder = Folder {
            bootstrap: first_pattern(dir, BOOTSTRAP),
            fixtures: first_pattern(dir, FIXTURES),
            image: image_in(dir),
            has_queries: has_file(&dir.join("queries"), "sql"),
            has_sqlx: has_file(&dir.join(".sqlx"), "json"),
            has_snapshot: dir.join("schema.snapshot").is_file(),
            ..Folder::default()
        };
        folder.migrated = command_of(dir);
        if folder.migrated.is_none() {
            folder.find_migrations(dir);
        }
        Ok(folder)
    }

    /// The folder of migrations, where there is one.
    pub(super) fn migrations(&self, dir: &Path) -> Option<PathBuf> {
        match &self.migrated {
            Some(Migrated::Folder { dir: name, .. }) => Some(dir.join(name)),
            _ => None,
        }
    }

    fn find_migrations(&mut self, dir: &Path) {
        for name in MIGRATIONS {
            let path = dir.join(name);
            if !path.is_dir() {
                continue;
            }
            match Migrations::load(&path, Format::Auto) {
                Ok(migrations) if !migrations.is_empty() => {
                    let format = migrations.format().unwrap_or_default();
                    self.migrated =
                        Some(Migrated::Folder { dir: (*name).to_owned(), format, files: migrations.len() });
                    return;
                }
                Ok(_) => {}
                Err(error) => self.unreadable.push(((*name).to_owned(), error.report())),
            }
        }
    }
}

fn command_of(dir: &Path) -> Option<Migrated> {
    let (file, line, model) = COMMANDS.iter().find(|(file, ..)| dir.join(file).is_file())?;
    // Rails has the file whatever it keeps its data in.
    if *file == "bin/rails" && !dir.join("db/migrate").is_dir() {
        return None;
    }
    Some(Migrated::Command {
        line: (*line).to_owned(),
        file: (*file).to_owned(),
        model: model.map(str::to_owned),
    })
}

/// The first of `patterns` that finds a file.
fn first_pattern(dir: &Path, patterns: &[&str]) -> Option<String> {
    let finds = |pattern: &&&str| match pattern.rsplit_once('/') {
        Some((folder, "*.sql")) => has_file(&dir.join(folder), "sql"),
        _ => dir.join(pattern).is_file(),
    };
    patterns.iter().find(finds).map(|pattern| (*pattern).to_owned())
}

/// Whether a folder has a file with such an ending.
fn has_file(folder: &Path, ending: &str) -> bool {
    let is_wanted = |path: PathBuf| path.is_file() && path.extension().is_some_and(|own| own == ending);
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_wanted(entry.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Folder::look(dir.path()).unwrap()
    }

    #[test]
    fn an_empty_folder_has_nothing() {
        let found = folder(&[]);
        assert_eq!(found.migrated, None);
        assert_eq!((found.bootstrap, found.fixtures, found.image), (None, None, None));
    }

    #[test]
    fn what_is_there_is_found() {
        let found = folder(&[
            ("db/migrations/20240101000000_a.sql", "-- migrate:up\ncreate table a ();\n-- migrate:down\n"),
            ("seeds/a.sql", "select 1"),
            (".sqlx/query-1.json", "{}"),
        ]);
        let dir = "db/migrations".to_owned();
        assert_eq!(found.migrated, Some(Migrated::Folder { dir, format: Format::Dbmate, files: 1 }));
        assert_eq!(found.fixtures.as_deref(), Some("seeds/*.sql"));
        assert!(found.has_sqlx && !found.has_queries);
    }

    #[test]
    fn a_program_goes_before_files_of_sql() {
        let found = folder(&[("manage.py", ""), ("sql/1_a.sql", "select 1")]);
        let Some(Migrated::Command { line, .. }) = found.migrated else { panic!("{found:?}") };
        assert_eq!(line, "python manage.py migrate");
    }
}
