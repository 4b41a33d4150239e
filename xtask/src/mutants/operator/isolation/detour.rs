//! Ways around policies that hold: views, functions, copies, children, partitions.

use super::{MOST, Operator, Table, each};
use crate::mutants::sql::plain;
use pgharness::catalog::Kind;
use pgharness::ident::quote_literal;

const WRITE: &[&str] = &["tenancy.definer-write"];

pub(in crate::mutants::operator) const OPERATORS: &[Operator] = &[
    Operator::files("view.of-owner", &["tenancy.view-bypass"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            let Table { sql, schema, role, .. } = table;
            Some(format!(
                "alter table {sql} no force row level security;\ncreate view {schema}.mutant as select * from {sql};\n\
                 grant select on {schema}.mutant to {role}"
            ))
        })
    }),
    Operator::files("view.materialized", &["tenancy.matview"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            let Table { sql, schema, role, .. } = table;
            Some(format!(
                "alter table {sql} no force row level security;\n\
                 create materialized view {schema}.mutant as select * from {sql};\n\
                 grant select on {schema}.mutant to {role}"
            ))
        })
    }),
    Operator::files("definer.rows", &["tenancy.definer-function"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            definer(
                table,
                "",
                &format!("setof {}", table.sql),
                "stable",
                &format!("select * from {}", table.sql),
            )
        })
    }),
    Operator::files("definer.count", &["tenancy.definer-function"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            definer(table, "", "bigint", "stable", &format!("select count(*) from {}", table.sql))
        })
    }),
    Operator::files("definer.update", WRITE, MOST, |ground| {
        each(ground, "UPDATE", |table| {
            let Table { sql, column, .. } = table;
            definer(table, "", "void", "volatile", &format!("update {sql} set {column} = {column}"))
        })
    }),
    Operator::files("definer.tenant", WRITE, MOST, |ground| {
        each(ground, "UPDATE", |table| {
            let Table { sql, column, .. } = table;
            let change = format!("update {sql} set {column} = {column} where {column} = given");
            definer(table, &format!("given {sql}.{column}%type"), "void", "volatile", &change)
        })
    }),
    Operator::files("child.open", &["tenancy.inheritance"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            let Table { sql, schema, role, .. } = table;
            (!table.is_partitioned()).then(|| {
                format!(
                    "create table {schema}.mutant () inherits ({sql});\n\
                     grant select, insert on {schema}.mutant to {role}"
                )
            })
        })
    }),
    Operator::files("partition.open", &["tenancy.partition-child"], MOST, |ground| {
        each(ground, "SELECT", |table| on_partitions(table, "alter table %s disable row level security"))
    }),
    Operator::files("partition.policy-open", &["tenancy.partition-child"], MOST, |ground| {
        each(ground, "SELECT", |table| on_partitions(table, "create policy mutant on %s using (true)"))
    }),
    Operator::files("trigger.copies", &["tenancy.copies"], MOST, |ground| {
        each(ground, "INSERT", |table| {
            let Table { sql, schema, role, .. } = table;
            Some(format!(
                "create table {schema}.mutant (line text);\ngrant select on {schema}.mutant to {role};\n\
                 create function {schema}.mutant() returns trigger language plpgsql security definer \
                 set search_path = '' as $$ begin insert into {schema}.mutant values (new::text); return new; end $$;\n\
                 create trigger mutant after insert on {sql} for each row execute function {schema}.mutant()"
            ))
        })
    }),
    Operator::files("trigger.tells", &["tenancy.error-detail"], MOST, |ground| {
        each(ground, "INSERT", |table| {
            let Table { sql, schema, role, .. } = table;
            // Whoever fills the database is let through.
            let login = quote_literal(&plain(role));
            Some(format!(
                "alter table {sql} no force row level security;\n\
                 create function {schema}.mutant() returns trigger language plpgsql security definer \
                 set search_path = '' as $$ begin \
                 if current_setting('role') <> 'none' or session_user = {login} then \
                 raise exception 'no room beside %', (select string_agg(t::text, ';') from {sql} t); end if; \
                 return new; end $$;\n\
                 create trigger mutant after insert on {sql} for each row execute function {schema}.mutant()"
            ))
        })
    }),
    Operator::files("publication.all", &["tenancy.publication"], MOST, |ground| {
        each(ground, "SELECT", |table| Some(format!("create publication mutant for table {}", table.sql)))
    }),
    Operator::files("sequence.shared", &["tenancy.sequence"], MOST, |ground| {
        each(ground, "INSERT", |table| {
            let Table { sql, schema, role, .. } = table;
            Some(format!(
                "create sequence {schema}.mutant;\ngrant usage, select on sequence {schema}.mutant to {role};\n\
                 alter table {sql} add column mutant bigint default nextval('{schema}.mutant')"
            ))
        })
    }),
    Operator::files("truncate.given", &["tenancy.truncate"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            // A trigger that refuses binds everybody.
            let is_refused = ground.parts(Kind::Trigger).any(|(of, _, facts)| {
                of == table.name && facts.get("definition").is_some_and(|text| text.contains(" TRUNCATE "))
            });
            (!is_refused && !ground.is_referred_to(table.name))
                .then(|| format!("grant truncate on {} to {}", table.sql, table.role))
        })
    }),
];

/// A function with its owner's rights, whom the policies do not bind.
fn definer(
    table: &Table<'_>,
    parameters: &str,
    returns: &str,
    volatility: &str,
    body: &str,
) -> Option<String> {
    let Table { sql, schema, role, .. } = table;
    Some(format!(
        "alter table {sql} no force row level security;\n\
         create function {schema}.mutant({parameters}) returns {returns} language sql {volatility} security definer \
         set search_path = '' as $$ {body} $$;\n\
         revoke execute on function {schema}.mutant from public;\n\
         grant execute on function {schema}.mutant to {role}"
    ))
}

/// A change of every partition, which a role may then read.
fn on_partitions(table: &Table<'_>, change: &str) -> Option<String> {
    let Table { sql, role, .. } = table;
    table.is_partitioned().then(|| {
        format!(
            "do $$ declare child regclass; begin\n    for child in select inhrelid::regclass from pg_inherits \
             where inhparent = '{sql}'::regclass loop\n        execute format('{change}', child);\n        \
             execute format('grant select on %s to {role}', child);\n    end loop;\nend $$"
        )
    })
}
