//! `structure.column-type`: types that do something else than they seem to.

use super::tables::{self, Column};
use crate::check::{Check, Context, Example, Explanation, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::quote_literal;
use sqlx::{AssertSqlSafe, PgConnection};

/// No column has a type that surprises.
pub(in crate::check) struct ColumnType;

const ID: &str = "structure.column-type";

impl Check for ColumnType {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "no column has a type that surprises: char(n), money, a time without zone, …"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No column of the project's own tables is a timestamp or time that is without a zone or has only an \
                     offset, char(n), varchar(n), money, json, a serial, or a binary fraction that is named like an \
                     amount of money. Each finding shows what its type does, as this server does it.",
            matters: "Each of these loses something without a word: the offset of a time, blanks, cents, keys. A length is \
                      a rule that a migration has to change, and a serial's sequence has privileges of its own.",
            remedy: "timestamptz, text (with a check where a length matters), numeric, jsonb, `generated always as \
                     identity`. On a large table a change of type is a rewrite: add a column, and move over.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "the shop, with an order from another time zone",
            runs: "insert into orders (at) values ('2025-07-01 12:00+02')",
            gets: "12:00, and nobody knows of which zone",
            because: "`at` is a timestamp, which drops the offset without a word",
            fix: "alter table orders alter column at type timestamptz using at at time zone 'UTC'",
        })
    }

    fn is_opt_in(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::COLUMN_TYPE
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What is wrong with a type, a statement that shows it, and what to use.
struct Hazard {
    what: &'static str,
    shows: &'static str,
    instead: &'static str,
}

/// What amounts of money are called.
const AMOUNTS: [&str; 10] =
    ["amount", "balance", "cost", "fee", "money", "price", "salary", "subtotal", "tax", "total"];

fn hazard(column: &Column) -> Option<Hazard> {
    let of = column.type_name.as_str();
    let is_amount = || column.name.to_lowercase().split('_').any(|word| AMOUNTS.contains(&word));
    let (what, shows, instead) = match of {
        _ if of.starts_with("timestamp") && of.ends_with("without time zone") => (
            "drops the zone of what is written to it",
            "select '2025-07-01 12:00+02'::timestamp::text",
            "timestamptz",
        ),
        _ if of.starts_with("time") && of.ends_with("with time zone") && !of.starts_with("timestamp") => (
            "has an offset and no date, and so no zone",
            "select ('12:00+02'::timetz = '11:00+01'::timetz)::text",
            "timestamptz, or time",
        ),
        _ if of.starts_with("character(") => (
            "fills up with blanks, and compares as if there were none",
            "select octet_length('a'::character(5))::text",
            "text",
        ),
        _ if of.starts_with("character varying(") => (
            "refuses by a length that a migration has to change",
            "select octet_length('abc'::character varying(2))::text",
            "text, with a check if the length matters",
        ),
        "money" => {
            ("rounds to the cents of a setting", "select '1.999'::numeric::money::numeric::text", "numeric")
        }
        "real" | "double precision" if is_amount() => {
            ("cannot hold a tenth", "select (0.1::double precision + 0.2 = 0.3)::text", "numeric")
        }
        "json" => (
            "keeps the text, and finds keys by reading it again",
            "select '{\"a\": 1, \"a\": 2}'::json::text",
            "jsonb",
        ),
        _ if column.is_serial => (
            "is a serial: whoever inserts needs a privilege on its sequence too",
            "",
            "`generated always as identity`",
        ),
        _ => return None,
    };
    Some(Hazard { what, shows, instead })
}

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let mut findings = Vec::new();
    for column in tables::columns(context, &mut control).await? {
        let Some(hazard) = hazard(&column) else { continue };
        findings.push(finding(&mut control, db.server().endpoint().role(), &column, &hazard).await?);
    }
    Ok(Verdict::of(findings))
}

async fn finding(
    control: &mut PgConnection,
    admin: &str,
    column: &Column,
    hazard: &Hazard,
) -> Result<Finding> {
    let (table, name) = (&column.table, &column.name);
    // What is wrong with a serial shows in the table itself.
    let sql = if hazard.shows.is_empty() {
        format!("select pg_get_serial_sequence({}, {})", quote_literal(&table.sql()), quote_literal(name))
    } else {
        hazard.shows.to_owned()
    };
    let shown: String = sqlx::query_scalar(AssertSqlSafe(sql.as_str())).fetch_one(control).await?;
    Ok(Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("column", format!("{table}.{name}")),
        message: format!("`{table}.{name}`, of type {}, {}", column.type_name, hazard.what),
        help: format!("use {}", hazard.instead),
        evidence: vec![Evidence::as_role(admin, sql, shown)],
    })
}
