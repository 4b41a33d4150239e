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

/// The login roles of a schema with tenants.
#[cfg(feature = "peers")]
pub(super) const LOGINS: [&str; 3] = ["app_reader", "app_worker", "app_writer"];

#[cfg(feature = "peers")]
const OF_TENANT: &str = "tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid";

/// Migrations of a schema with so many tenant tables that every role may read and write, ten to a file: with a policy, keys,
/// a serial number, every second with a parent, the last of a file with partitions. Each file also has a view, a
/// materialized view, and functions that read and write with their owner's rights.
#[cfg(feature = "peers")]
pub(super) fn write_tenants(dir: &Path, tables: usize) -> Result<()> {
    let roles = LOGINS.map(|role| format!("create role {role} login;\n")).concat();
    let steps = (0..tables / 10).map(|step| {
        let tables: String = (step * 10..step * 10 + 10).map(tenant_table).collect();
        tables + &beside_tables(step)
    });
    write(dir, std::iter::once(roles).chain(steps))
}

#[cfg(feature = "peers")]
fn tenant_table(number: usize) -> String {
    let parent = match number % 2 {
        0 => String::new(),
        _ => format!(", foreign key (tenant_id, parent) references t{} (tenant_id, id)", number - 1),
    };
    let (partitioned, partition) = match number % 10 {
        9 => (
            " partition by hash (tenant_id)",
            format!(
                "create table t{number}_all partition of t{number} for values with (modulus 1, remainder 0);\n"
            ),
        ),
        _ => ("", String::new()),
    };
    format!(
        "create table t{number} (tenant_id uuid not null, id uuid default gen_random_uuid(), number bigserial, \
         name text not null, amount numeric(12, 2) check (amount >= 0), parent uuid, \
         at timestamptz not null default now(), primary key (tenant_id, id), unique (tenant_id, name){parent})\
         {partitioned};\n{partition}create index on t{number} (tenant_id, parent);\n\
         alter table t{number} enable row level security;\nalter table t{number} force row level security;\n\
         create policy tenant on t{number} using ({OF_TENANT}) with check ({OF_TENANT});\n\
         grant select, insert, update, delete on t{number} to {all};\n\
         grant usage on sequence t{number}_number_seq to {all};\n",
        all = LOGINS.join(", ")
    )
}

#[cfg(feature = "peers")]
fn beside_tables(step: usize) -> String {
    let (table, all) = (format!("t{}", step * 10), LOGINS.join(", "));
    format!(
        "create view v{step} with (security_invoker) as select * from {table};\n\
         create materialized view m{step} as select tenant_id, count(*) as rows from {table} group by tenant_id;\n\
         create function read{step}() returns bigint language sql security definer set search_path = pg_catalog, public \
         as $$ select count(*) from {table} where {OF_TENANT} $$;\n\
         create function write{step}() returns void language sql security definer set search_path = pg_catalog, public \
         as $$ update {table} set amount = 0 where {OF_TENANT} $$;\n\
         revoke execute on function read{step}, write{step} from public;\n\
         grant execute on function read{step}, write{step} to {all};\ngrant select on v{step} to {all};\n"
    )
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
