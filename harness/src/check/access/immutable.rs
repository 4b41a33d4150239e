//! `access.immutable`: whether rows that never change stay as they were.

use super::final_rows::{Promise, attack};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::server::Capability;

/// Nobody changes or replaces a row of a table that is declared immutable.
pub(in crate::check) struct ImmutableRows;

impl Check for ImmutableRows {
    fn id(&self) -> &'static str {
        "access.immutable"
    }

    fn summary(&self) -> &'static str {
        "no role changes or replaces a row that is final once it exists"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role that logs in tries to give each column that it may update another value, by UPDATE, MERGE \
                     and ON CONFLICT DO UPDATE, in every table of `access.immutable`; and to remove rows, which is half \
                     of replacing them. The values differ from those that are there: a trigger that compares them is no \
                     way around, and a trigger that lists columns is tried on each. There is a row to change, and \
                     without its triggers a superuser does change it.",
            matters: "What was approved, signed or run is named by its version or its hash. A version that changes \
                      afterwards makes every reference to it a lie, and nothing shows it.",
            remedy: "Grant INSERT and SELECT only, and have a trigger refuse UPDATE and DELETE whatever changes, ENABLE \
                     ALWAYS. Generate the hash from the content (`generated always as … stored`), so that it cannot be \
                     written, and refer to versions with ON DELETE RESTRICT.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, to correct a typing error",
            runs: "update policy_versions set note = 'approved by all'",
            gets: "a version that is not the one that was approved",
            because: "the trigger guards the column `content`, and `note` came later",
            fix: "create or replace function keep() returns trigger language plpgsql as \
                  'begin raise exception ''a version is final''; end'; \
                  drop trigger keep on policy_versions; \
                  create trigger keep before update or delete on policy_versions for each row execute function keep()",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Immutable, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::IMMUTABLE
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let patterns = context.project().access.immutable.clone();
            attack(context, &Promise { check: "access.immutable", key: "immutable", patterns }).await
        })
    }
}
