//! `access.append-only`: whether rows that are only ever added stay as they were.

use super::final_rows::{Promise, attack};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::server::Capability;

/// Nobody changes or removes a row of a table that is declared append-only.
pub(in crate::check) struct AppendOnly;

impl Check for AppendOnly {
    fn id(&self) -> &'static str {
        "access.append-only"
    }

    fn summary(&self) -> &'static str {
        "no role changes or removes a row of an append-only table"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role that logs in attacks every table of `access.append_only` and each of its partitions: \
                     UPDATE of each column that it may update, DELETE, TRUNCATE, MERGE, ON CONFLICT DO UPDATE, a \
                     cascade from what the table refers to, `session_replication_role = replica`, disabled triggers, \
                     DETACH and DROP. There is a row to lose, made up where there was none, and without its triggers a \
                     superuser does change it. Whether rows changed is seen by an eye of the harness's own. A \
                     superuser can do all that, and is not tried; what the role that migrates does as the owner is not told.",
            matters: "An audit log that can be edited proves nothing. Grants alone bind neither the owner nor who is \
                      granted too much one day; a rule `do instead nothing` lets TRUNCATE through; a row trigger does \
                      not see TRUNCATE either, and a partition has privileges of its own.",
            remedy: "Grant INSERT and SELECT only, and have triggers refuse the rest: `before update or delete` for each \
                     row and `before truncate` for each statement, both ENABLE ALWAYS, on each partition too. Let the \
                     table belong to a role that nobody logs in as. Refer to others with ON DELETE RESTRICT.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, which may delete because it always could",
            runs: "delete from audit_events",
            gets: "no evidence is left",
            because: "that the table is append-only stands in its comment and nowhere else",
            fix: "revoke update, delete, truncate on audit_events from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::AppendOnly, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::APPEND_ONLY
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let patterns = context.project().access.append_only.clone();
            attack(context, &Promise { check: "access.append-only", key: "append_only", patterns }).await
        })
    }
}
