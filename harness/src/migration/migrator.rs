//! Migrations that sqlx has compiled into a program.

use super::format::{Format, Reading};
use super::source::Migrations;
use super::step::{Delivery, Migration, Version};
use super::table::TableName;
use crate::digest::hex;
use crate::script::Script;
use sqlx::migrate::{Migration as Compiled, Migrator};

/// Applied as a folder of the same files would be, with the history that the migrator itself keeps.
impl From<&Migrator> for Migrations {
    fn from(migrator: &Migrator) -> Migrations {
        let down = |version| {
            migrator.iter().find(|step| step.version == version && step.migration_type.is_down_migration())
        };
        let ups = migrator.iter().filter(|step| step.migration_type.is_up_migration());
        let migrations = ups.map(|step| Migration {
            checksum: Some(hex(&step.checksum)),
            delivery: if step.no_tx { Delivery::Message } else { Delivery::Transaction },
            down: down(step.version).map(script),
            ..Migration::new(Version::Number(step.version), &*step.description, script(step))
        });
        // The fields of a migrator are hidden from its documentation: `=0.9` is what they are known of.
        let schemas = migrator.create_schemas.iter().map(|schema| TableName::parse(schema).name);
        Migrations::compiled(
            Format::Sqlx,
            Reading {
                migrations: migrations.collect(),
                table: Some(TableName::parse(&migrator.table_name)),
                schemas: schemas.collect(),
                ..Reading::default()
            },
        )
    }
}

/// A migrator knows its files' texts, and their names but for zeros at the front.
fn script(step: &Compiled) -> Script {
    let words = step.description.replace(' ', "_");
    let name = format!("{}_{words}{}", step.version, step.migration_type.suffix());
    Script::new(&name, &name, step.sql.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Hasher;
    use crate::migration::format::folder;
    use sqlx::SqlSafeStr;
    use sqlx::migrate::MigrationType;

    fn step(version: i64, words: &'static str, kind: MigrationType, sql: &'static str) -> Compiled {
        Compiled::new(version, words.into(), kind, sql.into_sql_str(), sql.starts_with("-- no-transaction"))
    }

    #[test]
    fn a_migrator_is_what_its_folder_is() {
        let files = [
            ("1_a_table.up.sql", MigrationType::ReversibleUp, "create table t ();"),
            ("1_a_table.down.sql", MigrationType::ReversibleDown, "drop table t;"),
            ("20_b.sql", MigrationType::Simple, "-- no-transaction\nvacuum;"),
        ];
        let dir = folder(&files.map(|(name, _, text)| (name, text)));
        let read = Migrations::load(dir.path(), Format::Sqlx).unwrap();
        let steps = files.map(|(name, kind, text)| {
            let (version, words) = if name.starts_with('1') { (1, "a table") } else { (20, "b") };
            step(version, words, kind, text)
        });
        let compiled = Migrations::from(&Migrator::with_migrations(steps.to_vec()));
        assert_eq!(compiled.len(), 2);
        for (compiled, read) in compiled.iter().zip(&read) {
            let of = |migration: &Migration| {
                let texts = [Some(&migration.script), migration.down.as_ref()]
                    .map(|script| script.map(|script| (script.name().to_owned(), script.text().to_owned())));
                (migration.version.clone(), migration.description.clone(), migration.checksum.clone(), texts)
            };
            assert_eq!(of(compiled), of(read));
            assert_eq!(compiled.delivery, read.delivery);
        }
    }

    #[test]
    fn whatever_shapes_the_schema_shapes_the_digest() {
        let digest = |version, sql, table: &'static str| {
            let mut migrator =
                Migrator::with_migrations(vec![step(version, "a", MigrationType::Simple, sql)]);
            migrator.dangerous_set_table_name(table);
            let mut hasher = Hasher::new("test");
            Migrations::from(&migrator).add_to(&mut hasher).unwrap();
            hasher.finish()
        };
        let one = digest(1, "select 1", "applied");
        assert_eq!(one, digest(1, "select 1", "applied"));
        assert_ne!(one, digest(2, "select 1", "applied"));
        assert_ne!(one, digest(1, "select 2", "applied"));
        assert_ne!(one, digest(1, "select 1", "ops.applied"));
    }
}
