//! `structure.conventions`: names, times and defaults as a project has agreed on them.

use super::tables::{self, Column, Table};
use crate::check::{Check, Context, Example, Explanation, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::quote_literal;
use std::collections::BTreeSet;

/// Tables are named by their domain, lookups `ref_…`, and times have a zone and a default.
pub(in crate::check) struct Conventions;

const ID: &str = "structure.conventions";

/// What lookups begin with.
const LOOKUP: &str = "ref_";

impl Check for Conventions {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "tables begin with their domain, times have a zone, `created_at` has a default"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Where tables of one of `structure.prefixes` share a schema with others, each table there begins with \
                     one of them, or with `ref_` if it is a lookup. A lookup has a primary key of one column. Every \
                     point in time is a timestamptz, and `created_at` is not null and defaults to now.",
            matters: "A name that says its domain says who may change it. A time without a zone means something else in \
                      each session, and a `created_at` that the application has to set is null in what a script inserts.",
            remedy: "Rename the table, or add its prefix to `structure.prefixes`; `alter column … type timestamptz using … at \
                     time zone 'UTC'`, which rewrites the table; `alter column created_at set default now()`.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "a script that adds jobs by hand",
            runs: "insert into jobs_queue (what) values ('send')",
            gets: "a job of no age, which the cleaning never finds",
            because: "`created_at` is set by the application, and has no default",
            fix: "alter table jobs_queue alter column created_at set default now(), alter column created_at set not null",
        })
    }

    fn is_opt_in(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::CONVENTIONS
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let admin = db.server().endpoint().role();
    let tables = tables::read(context, &mut control).await?;
    let columns = tables::columns(context, &mut control).await?;
    let prefixes = &context.project().structure.prefixes;
    let has_prefix = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let shared: BTreeSet<&str> = tables
        .iter()
        .filter(|table| has_prefix(&table.name.name))
        .map(|table| table.name.schema.as_str())
        .collect();
    let mut findings = Vec::new();
    for table in &tables {
        let name = &table.name;
        let is_lookup = name.name.starts_with(LOOKUP);
        if shared.contains(name.schema.as_str()) && !is_lookup && !has_prefix(&name.name) {
            findings.push(finding(
                Subject::new("table", name.to_string()),
                format!("`{name}` begins with no domain, in a schema that several share"),
                "rename it, or add its prefix to `structure.prefixes`".into(),
                Evidence::as_role(admin, begins_with_one(table, prefixes), "false"),
            ));
        }
        if is_lookup && !table.is_foreign && !table.has_primary_key {
            findings.push(finding(
                Subject::new("table", name.to_string()),
                format!("the lookup `{name}` has no primary key"),
                "make its code the primary key: others refer to it".into(),
                Evidence::as_role(
                    admin,
                    format!(
                        "select indexrelid::regclass from pg_index where indrelid = {}::regclass and indisprimary",
                        quote_literal(&name.sql())
                    ),
                    "no row",
                ),
            ));
        }
    }
    findings.extend(columns.iter().filter_map(|column| of_column(admin, column)));
    Ok(Verdict::of(findings))
}

/// The question whether a table begins with one of `prefixes`, or is called like a lookup.
fn begins_with_one(table: &Table, prefixes: &[String]) -> String {
    let prefixes: Vec<String> =
        prefixes.iter().map(String::as_str).chain([LOOKUP]).map(quote_literal).collect();
    format!(
        "select bool_or(starts_with(relname, prefix)) from pg_class, unnest(array[{}]) as prefix \
         where pg_class.oid = {}::regclass",
        prefixes.join(", "),
        quote_literal(&table.name.sql())
    )
}

fn of_column(admin: &str, column: &Column) -> Option<Finding> {
    let (table, name) = (&column.table, &column.name);
    let message;
    let help;
    if column.type_name.starts_with("timestamp") && column.type_name.ends_with("without time zone") {
        message = format!("`{table}.{name}` is a time without a zone");
        help = format!(
            "`alter table {} alter column {name} type timestamptz using {name} at time zone 'UTC'`",
            table.sql()
        );
    } else if name == "created_at" && (column.is_nullable || column.default.is_none()) {
        message = format!("`{table}.{name}` does not set itself");
        help = format!(
            "`alter table {} alter column {name} set default now(), alter column {name} set not null`",
            table.sql()
        );
    } else {
        return None;
    }
    let default =
        column.default.as_deref().map_or("no default".to_owned(), |default| format!("default {default}"));
    let null = if column.is_nullable { "null" } else { "not null" };
    let sql = format!(
        "select format_type(atttypid, atttypmod), case when attnotnull then 'not null' else 'null' end, \
         coalesce('default ' || pg_get_expr(adbin, adrelid), 'no default') \
         from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum \
         where attrelid = {}::regclass and attname = {}",
        quote_literal(&table.sql()),
        quote_literal(name)
    );
    Some(finding(
        Subject::new("column", format!("{table}.{name}")),
        message,
        help,
        Evidence::as_role(admin, sql, format!("{}, {null}, {default}", column.type_name)),
    ))
}

fn finding(subject: Subject, message: String, help: String, evidence: Evidence) -> Finding {
    Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject,
        message,
        help,
        evidence: vec![evidence],
    }
}
