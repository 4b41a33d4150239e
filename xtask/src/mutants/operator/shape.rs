//! One more file that leaves a table without what every table has, or a window without its procedure.

use super::{Ground, Operator, Site};
use crate::mutants::ground::listed;
use crate::mutants::sql::{parent, sql};
use pgharness::catalog::{Facts, Kind};

/// So many databases are changed by each operator.
const MOST: usize = 8;
const TYPE: &[&str] = &["structure.column-type"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("key.none", &["structure.primary-key"], MOST, |ground| {
        tables(ground, |table, _| {
            Some(format!("alter table {} drop constraint {} cascade", sql(table), ground.primary_key(table)?))
        })
    }),
    Operator::files("foreign-key.un-index", &["structure.fk-index"], MOST, un_indexed),
    Operator::files("name.long", &["structure.identifier-length"], MOST, |ground| {
        tables(ground, |table, _| {
            Some(format!("alter table {} add column {} integer", sql(table), "mutant_".repeat(10)))
        })
    }),
    Operator::files("table.missing", &["structure.expected-tables"], MOST, |ground| {
        tables(ground, |table, _| {
            let expected = &ground.project.structure.expected_tables;
            expected.iter().any(|name| name == table).then(|| format!("drop table {} cascade", sql(table)))
        })
    }),
    Operator::files("type.padded", TYPE, MOST, |ground| added(ground, "char(7)")),
    Operator::files("type.money", TYPE, MOST, |ground| added(ground, "money")),
    Operator::files("type.zoneless", TYPE, MOST, |ground| added(ground, "timestamp")),
    Operator::files("window.stuck", &["structure.partition-window"], MOST, |ground| {
        let windows = ground.project.structure.partitions.iter().filter_map(|(table, window)| {
            ground.changed(table, table, &emptied(ground, window.procedure.as_deref()?)?)
        });
        windows.collect()
    }),
    Operator::files("retention.nothing", &["operations.retention"], MOST, |ground| {
        let sites = ground.project.structure.retention.iter().filter_map(|(table, retention)| {
            let change = emptied(ground, retention.procedure.as_deref()?)?;
            ground.changed(table, table, &change)
        });
        sites.collect()
    }),
];

fn tables(ground: &Ground, change: impl Fn(&str, &Facts) -> Option<String>) -> Vec<Site> {
    ground
        .tables()
        .filter_map(|(table, facts)| ground.changed(table, table, &change(table, facts)?))
        .collect()
}

/// A column of a type that surprises.
fn added(ground: &Ground, kind: &str) -> Vec<Site> {
    tables(ground, |table, _| Some(format!("alter table {} add column mutant {kind}", sql(table))))
}

/// The procedure that a statement calls, with nothing in it.
fn emptied(ground: &Ground, call: &str) -> Option<String> {
    let called = call.strip_prefix("call ")?.split('(').next()?;
    let (name, facts) =
        ground.catalog.of_kind(Kind::Procedure).find(|(name, _)| name.split('(').next() == Some(called))?;
    let arguments = facts.get("arguments").map_or("", String::as_str);
    let name = sql(name.split('(').next()?);
    Some(format!("create or replace procedure {name}({arguments}) language plpgsql as $$ begin end $$"))
}

/// Indexes without which a foreign key has none.
fn un_indexed(ground: &Ground) -> Vec<Site> {
    let leads = |definition: &str, columns: &[&str]| {
        !definition.contains(" WHERE ")
            && listed(definition.split_once(" USING ").map_or(definition, |(_, rest)| rest))
                .take(columns.len())
                .all(|column| columns.contains(&column))
    };
    let definition = |facts: &Facts| facts.get("definition").cloned().unwrap_or_default();
    let sites = ground.catalog.of_kind(Kind::Index).filter_map(|(index, facts)| {
        let table = facts.get("table")?;
        let keys: Vec<String> = ground
            .parts(Kind::Constraint)
            .filter(|(of, _, facts)| of == table && definition(facts).starts_with("FOREIGN KEY"))
            .map(|(_, _, facts)| definition(facts))
            .collect();
        let is_missed = keys.iter().any(|key| {
            let columns: Vec<&str> = listed(key).collect();
            let others = ground.catalog.of_kind(Kind::Index).filter(|(other, facts)| {
                *other != index && facts.get("table") == Some(table) && leads(&definition(facts), &columns)
            });
            let constraints = ground.parts(Kind::Constraint).filter(|(of, _, facts)| {
                let is_key = ["PRIMARY", "UNIQUE"].iter().any(|form| definition(facts).starts_with(form));
                of == table && is_key && leads(&definition(facts), &columns)
            });
            leads(&definition(facts), &columns) && others.count() + constraints.count() == 0
        });
        is_missed.then_some(())?;
        let (schema, own) = (sql(parent(table).0), sql(parent(index).1));
        ground.changed(table, index, &format!("drop index {schema}.{own}"))
    });
    sites.collect()
}
