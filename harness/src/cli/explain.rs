//! `pgharness explain`: what a check proves, why it matters, what to do, with a good and a bad example.

use super::Answer;
use crate::check::{
    Check, Example, Explanation, Kind, Need, Registry, Story, UNUSED_ALLOWANCE, UNUSED_ALLOWANCE_EXPLANATION,
};
use crate::error::Result;
use crate::report::Colour;
use crate::report::prose::{COLUMNS, wrapped};
use crate::suite;
use anstyle::{AnsiColor, Style};
use clap::Args;
use std::fmt::Write as _;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Says what a check proves, with a good and a bad example.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The check; without it, all are listed.
    id: Option<String>,
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    let registry = suite::registry();
    let text = match arguments.id.as_deref() {
        None => list(&registry, colour),
        Some(UNUSED_ALLOWANCE) => Page::of_allowances().text(colour),
        Some(id) => Page::of(registry.find(id)?).text(colour),
    };
    Ok(Answer { text, exit_code: 0 })
}

fn list(registry: &Registry, colour: Colour) -> String {
    let width = registry.ids().map(str::len).max().unwrap_or(0);
    registry
        .iter()
        .map(|check| {
            let opt_in = if check.is_opt_in() { colour.paint(DIM, " (opt-in)") } else { String::new() };
            format!("{:width$}  {}{opt_in}\n", check.id(), check.summary())
        })
        .collect()
}

struct Page {
    id: &'static str,
    summary: &'static str,
    explanation: Explanation,
    needs: &'static [Need],
    is_opt_in: bool,
    story: Option<Story>,
    examples: &'static [Example],
}

impl Page {
    fn of(check: &dyn Check) -> Self {
        Page {
            id: check.id(),
            summary: check.summary(),
            explanation: check.explain(),
            needs: check.needs(),
            is_opt_in: check.is_opt_in(),
            story: check.story(),
            examples: check.examples(),
        }
    }

    /// Allowances are no check of a schema: the suite looks at them itself.
    fn of_allowances() -> Self {
        Page {
            id: UNUSED_ALLOWANCE,
            summary: "an allowance silences nothing",
            explanation: UNUSED_ALLOWANCE_EXPLANATION,
            needs: &[],
            is_opt_in: false,
            story: None,
            examples: &[],
        }
    }

    fn text(&self, colour: Colour) -> String {
        let mut out = format!("{}: {}\n", colour.paint(BOLD, self.id), self.summary);
        let Explanation { proves, matters, remedy } = self.explanation;
        let parts = [("What it proves", proves), ("Why it matters", matters), ("What to do", remedy)];
        for (title, prose) in parts {
            let _ = writeln!(out, "\n{}", colour.paint(BOLD, title));
            for line in wrapped(prose, COLUMNS - 2) {
                let _ = writeln!(out, "{}", format!("  {line}").trim_end());
            }
        }
        if !self.needs.is_empty() {
            let needs: Vec<String> = self.needs.iter().map(Need::to_string).collect();
            let _ = writeln!(out, "\nIt needs {}; without, it is skipped.", needs.join(" and "));
        }
        if self.is_opt_in {
            let _ = writeln!(out, "\nIt runs where `checks.opt_in` or `--only` names it.");
        }
        if let Some(story) = self.story {
            let of = self.examples.iter().find(|example| example.kind() == Kind::Bad);
            let file = of.map_or(String::new(), |example| format!(" in {}", example.file));
            let _ = writeln!(out, "\n{}{}\n", colour.paint(BOLD, "What happens"), colour.paint(DIM, &file));
            for (heading, text) in story.lines() {
                let _ = writeln!(out, "  {} {text}", colour.paint(DIM, &format!("{heading:8}")));
            }
        }
        for kind in [Kind::Config, Kind::Bad, Kind::Good] {
            for example in self.examples.iter().filter(|example| example.kind() == kind) {
                let (style, title) = match kind {
                    Kind::Config => (BOLD, "Configuration"),
                    Kind::Bad => (AnsiColor::Red.on_default().bold(), "Bad"),
                    Kind::Good => (AnsiColor::Green.on_default().bold(), "Good"),
                };
                let file = format!("fixtures/checks/{}/{}", self.id, example.file);
                let _ = writeln!(out, "\n{} {}\n", colour.paint(style, title), colour.paint(DIM, &file));
                for line in example.sql.trim_end().lines() {
                    let _ = writeln!(out, "{}", format!("    {line}").trim_end());
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_all_parts() {
        let page = Page {
            id: "tenancy.enabled",
            summary: "row-level security is on",
            explanation: Explanation {
                proves: "Every tenant table has it on.",
                matters: "First.\n\nSecond.",
                remedy: "`alter table … enable row level security`",
            },
            needs: &[Need::RowTenancy],
            is_opt_in: true,
            story: Some(Story {
                connects: "`web_app`, for tenant A",
                runs: "select from b",
                gets: "the rows of tenant B",
                because: "there is no policy",
                fix: "alter table b enable row level security",
            }),
            examples: &[
                Example { file: "good.sql", sql: "create table a ();\n\nalter table a\n" },
                Example { file: "bad.sql", sql: "create table b ();" },
            ],
        };
        assert_eq!(
            page.text(Colour::Off),
            "tenancy.enabled: row-level security is on

What it proves
  Every tenant table has it on.

Why it matters
  First.

  Second.

What to do
  `alter table … enable row level security`

It needs `tenancy.model = \"rls\"`; without, it is skipped.

It runs where `checks.opt_in` or `--only` names it.

What happens in bad.sql

  connects `web_app`, for tenant A
  runs     select from b
  gets     the rows of tenant B
  because  there is no policy
  fix      alter table b enable row level security

Bad fixtures/checks/tenancy.enabled/bad.sql

    create table b ();

Good fixtures/checks/tenancy.enabled/good.sql

    create table a ();

    alter table a
"
        );
    }
}
