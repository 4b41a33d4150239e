//! The layout of Prisma: a folder `<timestamp>_<words>` for each migration, with `migration.sql`.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::digest::Digest;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_literal};
use crate::migration::ledger::{Ledger, utc};
use crate::migration::name::{NameProblem, ProblemKind};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::took::Took;
use serde::Deserialize;

pub(super) struct Prisma;

const LOCK: &str = "migration_lock.toml";

impl Layout for Prisma {
    fn format(&self) -> Format {
        Format::Prisma
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let fits =
            listing.has(LOCK) || listing.dirs().any(|dir| listing.has(&format!("{dir}/migration.sql")));
        fits.then_some(Clue::Contents)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        refuse_other_servers(listing)?;
        let mut reading = Reading::default();
        for dir in listing.dirs().filter(|dir| !dir.starts_with('.')) {
            let name = format!("{dir}/migration.sql");
            if !listing.has(&name) {
                let explanation = "holds no `migration.sql`: prisma refuses the whole folder";
                reading.problems.push(NameProblem::fatal(dir, ProblemKind::NoUp, explanation));
                continue;
            }
            let script = read_script(listing, &name)?;
            reading.migrations.push(Migration {
                checksum: Some(Digest::of(script.raw()).to_string()),
                delivery: Delivery::Message,
                ..Migration::new(Version::Name(dir.to_owned()), dir, script)
            });
        }
        for name in listing.scripts() {
            let explanation = "lies beside the folders: prisma passes it over without a word";
            reading.problems.push(NameProblem::fatal(name, ProblemKind::Ignored, explanation));
        }
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Prisma
    }

    fn outside_a_transaction(&self) -> &'static str {
        "give it a migration of its own: prisma sends a file as one message, of which the server makes a transaction if it holds \
         more than one statement"
    }
}

/// # Errors
/// `migration_lock.toml` says that the migrations are for another kind of server, or cannot be read.
fn refuse_other_servers(listing: &Listing) -> Result<()> {
    #[derive(Deserialize)]
    struct Lock {
        provider: String,
    }
    if !listing.has(LOCK) {
        return Ok(());
    }
    let path = listing.path(LOCK);
    let failed = || format!("failed to read `{}`", path.display());
    let text = std::fs::read_to_string(&path).attempt(ErrorKind::Migration, failed)?;
    let lock: Lock = toml::from_str(&text).attempt(ErrorKind::Migration, failed)?;
    if lock.provider == "postgresql" {
        return Ok(());
    }
    let message = format!("the migrations in `{}` are for `{}`", listing.dir().display(), lock.provider);
    Err(Error::new(ErrorKind::Migration, message).with_help(format!("`{}` says so", path.display())))
}

/// A row is written when a migration begins, and completed when it ends.
impl Ledger for Prisma {
    fn table(&self) -> &'static str {
        "_prisma_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["id", "checksum", "finished_at", "migration_name", "rolled_back_at", "started_at"]
    }

    fn create(&self, table: &str) -> String {
        format!(
            "create table {table} (id varchar(36) primary key not null, checksum varchar(64) not null, \
             finished_at timestamptz, migration_name varchar(255) not null, logs text, rolled_back_at timestamptz, \
             started_at timestamptz not null default now(), applied_steps_count integer not null default 0)"
        )
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select migration_name::text, migration_name::text, checksum::text, \
               (extract(epoch from finished_at - started_at) * 1000)::bigint, {}, finished_at is not null \
             from {table} where rolled_back_at is null order by started_at, migration_name",
            utc("started_at")
        )
    }

    fn begin(&self, table: &str, migration: &Migration) -> Option<String> {
        Some(format!(
            "insert into {table} (id, checksum, migration_name) \
             values (pg_catalog.gen_random_uuid()::text, {}, {})",
            quote_literal(migration.checksum.as_deref().unwrap_or_default()),
            quote_literal(&migration.version.to_string())
        ))
    }

    fn record(&self, table: &str, migration: &Migration, _took: Took) -> String {
        format!(
            "update {table} set finished_at = now(), applied_steps_count = applied_steps_count + 1 \
             where migration_name = {} and finished_at is null and rolled_back_at is null",
            quote_literal(&migration.version.to_string())
        )
    }

    fn locks(&self, _database: &str, _table: &QualifiedName) -> Vec<i64> {
        vec![72_707_369]
    }

    fn mend(&self) -> &'static str {
        "put right by hand what it left, and say so with `prisma migrate resolve --rolled-back NAME`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::format::folder;
    use crate::migration::{Migrations, problems};
    use std::fs;

    #[test]
    fn folders_are_read() {
        let dir = folder(&[
            ("migration_lock.toml", "provider = \"postgresql\"\n"),
            ("20240102_b/migration.sql", "select 2;"),
            ("20240101_a/migration.sql", "select 1;"),
        ]);
        let migrations = Migrations::load(dir.path(), Format::Auto).unwrap();
        let names: Vec<_> = migrations.iter().map(|one| one.name()).collect();
        assert_eq!(names, ["20240101_a/migration.sql", "20240102_b/migration.sql"]);
        fs::create_dir(dir.path().join("20240103_c")).unwrap();
        fs::write(dir.path().join("x.sql"), "").unwrap();
        let found: Vec<_> = problems(dir.path(), Format::Prisma)
            .unwrap()
            .into_iter()
            .map(|one| (one.file, one.kind))
            .collect();
        assert_eq!(
            found,
            [("20240103_c".to_owned(), ProblemKind::NoUp), ("x.sql".to_owned(), ProblemKind::Ignored)]
        );
    }

    #[test]
    fn migrations_for_another_server_are_refused() {
        let dir = folder(&[("migration_lock.toml", "provider = \"mysql\"\n")]);
        let error = Migrations::load(dir.path(), Format::Auto).unwrap_err();
        assert!(error.to_string().ends_with("are for `mysql`"), "{error}");
    }
}
