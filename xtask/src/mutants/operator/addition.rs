//! One more file behind those that make a table, as somebody might have written it: it takes something away, fails on
//! rows, holds a lock, leaves something half-done, or does something else in every place.

use super::{Ground, Operator, Site};
use crate::mutants::ground::Made;
use crate::mutants::sql::{parent, plain, sql};
use pgharness::ident::quote_literal;
use std::collections::BTreeSet;

const EXPAND: &[&str] = &["migration.expand-only"];
const POPULATED: &[&str] = &["migration.populated"];
const LOCKS: &[&str] = &["migration.locks"];
const LEFTOVERS: &[&str] = &["migration.leftovers"];
const DETERMINISTIC: &[&str] = &["migration.deterministic"];
const SNAPSHOT: &[&str] = &["drift.snapshot"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("contract.drop-column", EXPAND, 5, |ground| {
        behind(ground, |made| on(made, &format!("drop column {} cascade", sql(made.text?))))
    }),
    Operator::files("contract.rename-column", EXPAND, 5, |ground| {
        behind(ground, |made| on(made, &format!("rename column {} to mutant", sql(made.text?))))
    }),
    Operator::files("contract.narrow-column", EXPAND, 5, |ground| {
        behind(ground, |made| {
            let column = sql(made.nullable.filter(|column| made.text == Some(*column))?);
            on(made, &format!("alter column {column} type varchar(7)"))
        })
    }),
    Operator::files("contract.require-column", EXPAND, 5, |ground| {
        behind(ground, |made| on(made, &format!("alter column {} set not null", sql(made.nullable?))))
    }),
    Operator::files("contract.drop-table", EXPAND, 5, |ground| {
        behind(ground, |made| Some(format!("{}drop table {} cascade;", made.role, sql(made.table))))
    }),
    Operator::files("contract.new-check", EXPAND, 5, |ground| {
        behind(ground, |made| on(made, &format!("add check ({} <> 'mutant')", sql(made.text?))))
    }),
    // On a lookup that an earlier file fills it fails with nobody's help.
    Operator::files("rows.require-new", &["migration.populated", "migration.clean-apply"], 3, |ground| {
        behind(ground, |made| on(made, "add column mutant integer not null"))
    }),
    Operator::files("rows.unique", POPULATED, 3, |ground| {
        // A unique key of a partitioned table has to hold the partition key.
        behind(ground, |made| {
            (!made.is_partitioned).then_some(())?;
            on(made, &format!("add unique ({})", sql(made.text?)))
        })
    }),
    Operator::files("rows.require-old", POPULATED, 3, |ground| {
        behind(ground, |made| on(made, &format!("alter column {} set not null", sql(made.nullable?))))
    }),
    Operator::files("lock.index", LOCKS, 4, |ground| {
        behind(ground, |made| {
            Some(format!("{}create index on {} ({});", made.role, sql(made.table), sql(made.text?)))
        })
    }),
    Operator::files("lock.rewrite", LOCKS, 4, |ground| {
        behind(ground, |made| on(made, "add column mutant uuid default gen_random_uuid()"))
    }),
    Operator::files("lock.validate", LOCKS, 4, |ground| {
        behind(ground, |made| on(made, &format!("add check ({} <> 'mutant')", sql(made.text?))))
    }),
    Operator::files("leave.not-valid", LEFTOVERS, 6, |ground| {
        behind(ground, |made| on(made, &format!("add check ({} <> 'mutant') not valid", sql(made.text?))))
    }),
    Operator::files("leave.invalid-index", LEFTOVERS, 6, |ground| {
        // An index on a partitioned table alone is INVALID until its partitions have theirs.
        behind(ground, |made| {
            made.is_partitioned.then_some(())?;
            let column = ground.columns().find(|(table, ..)| *table == made.table)?.1;
            Some(format!("{}create index on only {} ({});", made.role, sql(made.table), sql(column)))
        })
    }),
    Operator::files("chance.name", DETERMINISTIC, 6, |ground| named_by(ground, "md5(random()::text)")),
    Operator::files("chance.clock", DETERMINISTIC, 6, |ground| {
        named_by(ground, "to_char(clock_timestamp(), 'HH24MISSUS')")
    }),
    Operator::files("chance.database", DETERMINISTIC, 6, |ground| named_by(ground, "current_database()")),
    Operator::files("chance.rows", DETERMINISTIC, 6, |ground| {
        in_each_schema(ground, |made, schema| {
            Some(format!(
                "{}create table {schema}.mutant (id bigint);\ninsert into {schema}.mutant select * from \
                 generate_series(1, 2 + (random() * 100000)::integer);",
                made.role
            ))
        })
    }),
    Operator::files("extra.column", SNAPSHOT, 6, |ground| {
        at_the_end(ground, |made| on(made, "add column mutant integer"))
    }),
    Operator::files("extra.un-policy", SNAPSHOT, 6, |ground| {
        at_the_end(ground, |made| {
            let facts = ground.tables().find(|(table, _)| *table == made.table)?.1;
            facts.get("row security")?;
            on(made, "disable row level security")
        })
    }),
    Operator::files("extra.grant", SNAPSHOT, 6, |ground| {
        at_the_end(ground, |made| {
            Some(format!("{}grant select on table {} to public;", made.role, sql(made.table)))
        })
    }),
];

/// `alter table … change`, as its owner.
fn on(made: &Made<'_>, change: &str) -> Option<String> {
    Some(format!("{}alter table {} {change};", made.role, sql(made.table)))
}

/// A file right behind the one that makes a table, when there were no others yet.
fn behind(ground: &Ground, statements: impl Fn(&Made<'_>) -> Option<String>) -> Vec<Site> {
    let made = ground.made();
    let sites = made.iter().filter_map(|made| {
        Some(Site::files(made.table, ground.files.followed_by(made.number, &statements(made)?)?))
    });
    sites.collect()
}

/// A file behind all others.
fn at_the_end(ground: &Ground, statements: impl Fn(&Made<'_>) -> Option<String>) -> Vec<Site> {
    let (made, count) = (ground.made(), ground.files.migrations.len());
    let sites = made.iter().filter_map(|made| {
        Some(Site::files(made.table, ground.files.followed_by(count, &statements(made)?)?))
    });
    sites.collect()
}

/// A file in each schema, behind the one that makes its first table.
fn in_each_schema(ground: &Ground, statements: impl Fn(&Made<'_>, &str) -> Option<String>) -> Vec<Site> {
    let mut seen = BTreeSet::new();
    let made = ground.made();
    let sites = made.iter().filter_map(|made| {
        let schema = parent(made.table).0;
        seen.insert(schema.to_owned()).then_some(())?;
        Some(Site::files(schema, ground.files.followed_by(made.number, &statements(made, &sql(schema))?)?))
    });
    sites.collect()
}

/// A table in each schema whose name is made up by `expression`.
fn named_by(ground: &Ground, expression: &str) -> Vec<Site> {
    in_each_schema(ground, |made, _| {
        let schema = quote_literal(&plain(parent(made.table).0));
        Some(format!(
            "{}do $$ begin execute format('create table %I.%I (id bigint)', {schema}, 'mutant ' || {expression}); end $$;",
            made.role
        ))
    })
}
