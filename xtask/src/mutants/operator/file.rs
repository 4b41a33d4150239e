//! Files with other names, and with lines that no file should have.

use super::{Ground, Operator, Site};
use pgharness::migration::Migration;
use std::path::Path;

const FILENAME: &[&str] = &["migration.filename"];
const SECRETS: &[&str] = &["operations.literal-secrets"];
const LEFTOVERS: &[&str] = &["migration.leftovers"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::read("name.duplicate", FILENAME, |ground| {
        if !has_versions(ground) {
            return Vec::new();
        }
        let sites = ground.files.migrations.iter().filter_map(|migration| {
            let path = ground.files.path(migration);
            let name = path.to_str()?;
            let (stem, ending) = name.split_once('.')?;
            let text = ground.files.folder.text(path);
            let folder = ground.files.folder.clone().with(format!("{stem}_mutant.{ending}"), text);
            Some(Site::files(migration.name(), folder))
        });
        sites.collect()
    }),
    Operator::read("name.ignored", FILENAME, |ground| {
        // These tools know a migration by the underscore behind its version.
        let is_wanted = has_versions(ground);
        renamed(ground, |name| (is_wanted && name.contains('_')).then(|| name.replace('_', "-")))
    }),
    Operator::read("name.unsafe", FILENAME, |ground| {
        renamed(ground, |name| {
            let (stem, ending) = name.split_once('.')?;
            Some(format!("{stem} $(id).{ending}"))
        })
    }),
    Operator::read("name.unpadded", FILENAME, |ground| {
        // Where another file comes between the two names, as text.
        let names: Vec<&str> = ground.files.migrations.iter().map(Migration::name).collect();
        renamed(ground, |name| {
            let short = name.trim_start_matches('0');
            let is_passed = names.iter().any(|other| name < *other && *other < short);
            (is_passed && short.starts_with(|c: char| c.is_ascii_digit())).then(|| short.to_owned())
        })
    }),
    Operator::read("directive.hidden", FILENAME, |ground| {
        let sites = ground.files.migrations.iter().filter_map(|migration| {
            let first = migration.sql().lines().next()?;
            let is_directive = ["-- no-transaction", "-- +goose", "-- migrate:"]
                .iter()
                .any(|directive| first.starts_with(directive));
            let folder = ground.files.edited(migration, |text| format!("\u{feff}{text}"));
            is_directive.then(|| Site::files(migration.name(), folder))
        });
        sites.collect()
    }),
    Operator::read("secret.role", SECRETS, |ground| {
        appended(ground, |_| true, "alter role current_user password 'correct horse battery';")
    }),
    Operator::read("secret.url", SECRETS, |ground| {
        appended(ground, |_| true, "-- see postgres://app:correcthorse@db.example.org:5432/app")
    }),
    Operator::files("setting.leak", LEFTOVERS, 6, |ground| {
        appended(ground, is_transactional, "set work_mem = '7MB';")
    }),
    Operator::files("search-path.leak", LEFTOVERS, 6, |ground| {
        appended(ground, is_transactional, "set search_path = pg_catalog, public;")
    }),
];

/// Whether the format tells migrations apart by the number before an underscore.
fn has_versions(ground: &Ground) -> bool {
    let formats = ["sqlx", "refinery", "golang-migrate", "goose", "dbmate"];
    ground.files.migrations.format().is_some_and(|format| formats.contains(&format.name()))
}

fn is_transactional(migration: &Migration) -> bool {
    migration.delivery == pgharness::migration::Delivery::Transaction && migration.down.is_none()
}

fn renamed(ground: &Ground, rename: impl Fn(&str) -> Option<String>) -> Vec<Site> {
    let sites = ground.files.migrations.iter().filter_map(|migration| {
        let path = ground.files.path(migration);
        // A format with a folder for each migration has other rules.
        (path.parent() == Some(Path::new(""))).then_some(())?;
        let folder = ground.files.folder.clone().renamed(path, rename(path.to_str()?)?);
        Some(Site::files(migration.name(), folder))
    });
    sites.collect()
}

/// Each file with a line more, behind its statements.
fn appended(ground: &Ground, is_site: impl Fn(&Migration) -> bool, line: &str) -> Vec<Site> {
    let migrations = ground.files.migrations.iter().filter(|migration| is_site(migration));
    let sites = migrations.map(|migration| {
        let end = if migration.sql().trim_end().ends_with(';') { "" } else { ";" };
        let folder = ground.files.edited(migration, |text| format!("{}{end}\n{line}\n", text.trim_end()));
        Site::files(migration.name(), folder)
    });
    sites.collect()
}
