//! `structure.expected-tables`: tables that must be there.

use super::tables;
use crate::check::nearest::{nearest, quoted};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_literal};

/// Every table that the project expects is there.
pub(in crate::check) struct ExpectedTables;

const ID: &str = "structure.expected-tables";

impl Check for ExpectedTables {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "every table of `structure.expected_tables` is there"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "When all migrations are applied, there is a table of each name in `structure.expected_tables`: an \
                     ordinary, partitioned or foreign one, no view. What its columns are is for `drift.snapshot`.",
            matters: "A migration that creates a table under a condition, in whatever schema the path begins with, or in a \
                      folder that is not read, succeeds and leaves nothing. Other systems that read the table find out.",
            remedy: "Qualify the name in the migration that creates it, or take it off the list in the change that drops it.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "the billing service, after a release",
            runs: "select * from billing.invoices",
            gets: "relation \"billing.invoices\" does not exist",
            because: "the migration created `invoices` without its schema, and so in `public`",
            fix: "alter table public.invoices set schema billing",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::ExpectedTables]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::EXPECTED_TABLES
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let admin = db.server().endpoint().role();
    let there: Vec<String> =
        tables::read(context, &mut control).await?.iter().map(|table| table.name.to_string()).collect();
    let expected = &context.project().structure.expected_tables;
    // Without a schema it is one of `public`.
    let expected = expected.iter().map(|name| QualifiedName::parse(name));
    let findings = expected.filter(|name| !there.contains(&name.to_string())).map(|name| {
        let near = nearest(&name.to_string(), there.iter().map(String::as_str));
        let elsewhere =
            there.iter().map(String::as_str).filter(|other| other.ends_with(&format!(".{}", name.name)));
        let mut meant: Vec<&str> = elsewhere.chain(near).collect();
        meant.dedup();
        let meant = if meant.is_empty() { String::new() } else { format!("; is it {}?", quoted(meant)) };
        Finding {
            check: ID.into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new("table", name.to_string()),
            message: format!("there is no table `{name}`, which `structure.expected_tables` names"),
            help: format!("create it, or take it off the list{meant}"),
            evidence: vec![Evidence::as_role(
                admin,
                format!(
                    "select relkind from pg_class where oid = to_regclass({}) and relkind in ('r', 'p', 'f')",
                    quote_literal(&name.sql())
                ),
                "no row",
            )],
        }
    });
    Ok(Verdict::of(findings.collect()))
}
