//! The schemas that benches migrate.

use super::place::failed;
use pgharness::Result;
use std::path::Path;

/// Twenty migrations that make forty tables, two each. The names are good for sqlx's migrator too.
pub(super) fn write_tables(dir: &Path) -> Result<()> {
    write(dir, (0..20).map(|migration| table(migration * 2) + &table(migration * 2 + 1)))
}

/// Migrations of which every tenth makes a table and the others change it.
#[cfg(feature = "peers")]
pub(super) fn write_history(dir: &Path, migrations: usize) -> Result<()> {
    let steps = (0..migrations).map(|migration| match (migration / 10, migration % 10) {
        (number, 0) => table(number),
        (number, step @ (3 | 6)) => format!("create index on t{number} (name, c{});\n", step - 1),
        (number, 9) => format!("update t{number} set more = '{{}}';\n"),
        (number, step) => format!("alter table t{number} add c{step} int not null default 0;\n"),
    });
    write(dir, steps)
}

fn write(dir: &Path, migrations: impl Iterator<Item = String>) -> Result<()> {
    for (index, sql) in migrations.enumerate() {
        std::fs::write(dir.join(format!("{:04}_step.sql", index + 1)), sql).map_err(failed)?;
    }
    Ok(())
}

fn table(number: usize) -> String {
    let parent = match number {
        0 => String::new(),
        _ => format!("references t{}(id)", number - 1),
    };
    format!(
        "create table t{number} (id bigint generated always as identity primary key, name text not null unique, \
         parent bigint {parent}, at timestamptz not null default now(), more jsonb);\n\
         create index on t{number} (at);\ncreate index on t{number} (parent);\n"
    )
}
