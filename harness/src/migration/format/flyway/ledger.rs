//! The history that Flyway keeps.

use super::{Flyway, Kind, Name, normal, numbers, repeatable};
use crate::ident::{QualifiedName, quote_literal};
use crate::migration::history::Entry;
use crate::migration::ledger::{Ledger, local};
use crate::migration::source::Migrations;
use crate::migration::step::{Migration, Turn};
use crate::migration::took::Took;

/// `Flyway` in ASCII: from there the locks of histories are counted.
const LOCK: i64 = 0x466c_7977_6179;

/// What Java's `String.hashCode` has for a text.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

impl Ledger for Flyway {
    fn table(&self) -> &'static str {
        "flyway_schema_history"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["installed_rank", "version", "description", "type", "script", "checksum", "installed_on", "success"]
    }

    fn create(&self, table: &str) -> String {
        let name = table.rsplit_once('.').map_or(table, |(_, name)| name).trim_matches('"');
        let (key, index) = (format!("\"{name}_pk\""), format!("\"{name}_s_idx\""));
        format!(
            "create table {table} (installed_rank int not null, version varchar(50), description varchar(200) not null, \
             type varchar(20) not null, script varchar(1000) not null, checksum int, \
             installed_by varchar(100) not null, installed_on timestamp not null default now(), \
             execution_time int not null, success boolean not null); \
             alter table {table} add constraint {key} primary key (installed_rank); \
             create index {index} on {table} (success)"
        )
    }

    fn read(&self, table: &str) -> String {
        // Undone and repaired versions are told by a later row.
        format!(
            "select case when h.type like '%BASELINE' then 'B' else '' end || coalesce(h.version, ''), h.description::text, \
               h.checksum::text, h.execution_time::bigint, {}, h.success \
             from {table} h \
             where h.type not in ('SCHEMA', 'DELETE') and h.type not like 'UNDO%' \
               and not exists (select from {table} later where later.version = h.version \
                 and later.installed_rank > h.installed_rank and (later.type = 'DELETE' or later.type like 'UNDO%')) \
             order by h.installed_rank",
            local("h.installed_on")
        )
    }

    fn entries(&self, rows: Vec<Entry>, migrations: &Migrations) -> Vec<Entry> {
        let baseline = |version: &str| version.strip_prefix('B').and_then(numbers);
        // The file's own baseline stands for whatever came before it.
        let declared = migrations.iter().next().and_then(|first| baseline(&first.version.to_string()));
        let mut entries: Vec<Entry> = Vec::new();
        for row in rows {
            let of_version = numbers(row.version.trim_start_matches('B'));
            if row.version.is_empty() {
                let version = repeatable(&row.name);
                let now = migrations.iter().find(|migration| migration.version.to_string() == version);
                // One that has changed since is to be applied again.
                if now.is_none_or(|now| now.checksum == row.checksum) {
                    put(&mut entries, Entry { version, ..row });
                } else {
                    entries.retain(|entry| entry.version != version);
                }
            } else if declared.is_some() && of_version <= declared {
                if let Some(first) = migrations.iter().next() {
                    let is_its_own = row.version.starts_with('B');
                    let checksum = row.checksum.clone().filter(|_| is_its_own);
                    put(&mut entries, Entry { version: first.version.to_string(), checksum, ..row });
                }
            } else if row.version.starts_with('B') {
                let versioned = migrations.iter().filter(|migration| migration.turn != Turn::Repeatable);
                for version in versioned.map(|migration| migration.version.to_string()) {
                    if numbers(&version) <= of_version {
                        put(&mut entries, Entry { version, checksum: None, ..row.clone() });
                    }
                }
            } else {
                put(&mut entries, Entry { version: normal(&row.version), ..row });
            }
        }
        entries
    }

    fn record(&self, table: &str, migration: &Migration, took: Took) -> String {
        let name = Name::of(migration.name());
        let kind = name.as_ref().map(|name| name.kind);
        let version =
            name.filter(|name| name.kind != Kind::Repeatable).map(|name| quote_literal(&name.version));
        format!(
            "insert into {table} (installed_rank, version, description, type, script, checksum, installed_by, \
               installed_on, execution_time, success) \
             select coalesce(max(installed_rank), 0) + 1, {}, {}, {}, {}, {}, current_user, \
               pg_catalog.clock_timestamp(), {}, true from {table}",
            version.as_deref().unwrap_or("null"),
            quote_literal(&migration.description),
            quote_literal(if kind == Some(Kind::Baseline) { "SQL_BASELINE" } else { "SQL" }),
            quote_literal(migration.name()),
            migration.checksum.as_deref().unwrap_or("null"),
            took.in_units(1_000)
        )
    }

    fn locks(&self, _database: &str, table: &QualifiedName) -> Vec<i64> {
        vec![LOCK + i64::from(java_hash(&table.sql()))]
    }

    fn mend(&self) -> &'static str {
        "put right by hand what it left, and remove its row with `flyway repair`"
    }
}

/// Adds an entry in place of an earlier one of its version.
fn put(entries: &mut Vec<Entry>, entry: Entry) {
    entries.retain(|earlier| earlier.version != entry.version);
    entries.push(entry);
}
