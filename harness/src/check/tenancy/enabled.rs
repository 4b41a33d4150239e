//! `tenancy.enabled`: whether the tables of tenants have row-level security at all.

use super::attack::Attack;
use super::roles::{done_by, grouped, listed};
use super::tables::Relation;
use super::wording::{remedy, rows, sight};
use crate::check::matches;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::Severity;
use crate::server::Capability;

/// How many tables a remark names.
const NAMES_MAX: usize = 3;

/// Every table of tenants that a role can read has row-level security enabled.
pub(in crate::check) struct Enabled;

impl Check for Enabled {
    fn id(&self) -> &'static str {
        "tenancy.enabled"
    }

    fn summary(&self) -> &'static str {
        "every table of tenants that a role can read has row-level security enabled"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Of each table with the tenant's column it is asked whether row-level security is enabled. Where \
                     it is not, the roles of `tenancy.roles` log in, set a tenant, and count the rows of others that \
                     they see. Partitions and children are left to `tenancy.partition-child` and \
                     `tenancy.inheritance`. Tables with row-level security and without the tenant's column are named: \
                     whose rows they hold nobody said, and nothing of the family attacks them.",
            matters: "Policies are not asked as long as row-level security is off, and it is off on every new table. \
                      A table that a later migration adds is open to every tenant until somebody notices.",
            remedy: "`alter table … enable row level security`, and `force` it, in the migration that creates the \
                     table; or revoke the privilege from roles that do not need it.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::ENABLED
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select note from invoices",
            gets: "the notes of A, and those of B",
            because: "`invoices` came with a later migration, which created the policy and forgot to enable it",
            fix: "alter table invoices enable row level security",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.enabled").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    let is_open =
        |relation: &&Relation| relation.is_store() && !relation.is_enabled && relation.ancestors.is_empty();
    let open: Vec<Relation> = attack.relations.iter().filter(is_open).cloned().collect();
    for relation in open {
        let mut seen = Vec::new();
        for session in sessions.iter_mut().filter(|session| relation.readers.contains(&session.role)) {
            attack.count_probes(1);
            seen.push((session.role.clone(), session.count(&relation, &attack.tenants).await?));
        }
        for (roles, probed) in grouped(seen) {
            let first = roles.first().cloned().unwrap_or_default();
            let counts = match probed.outcome {
                Ok(counts) => counts,
                Err(refusal) => {
                    attack.note_refused(&relation, &roles, &refusal);
                    continue;
                }
            };
            let others = attack.others_in(&relation, &counts);
            if others == 0 {
                attack.note_unshown(&relation, &roles);
                continue;
            }
            let evidence = attack.shown(&relation, &first, probed.sql, sight(&counts, others));
            let message = format!(
                "row-level security is off on `{}`: with a tenant set {} {} {} of other tenants",
                relation.name,
                listed(&roles),
                done_by(&roles, "reads"),
                rows(others)
            );
            attack.accuse(Severity::Error, &relation, message, remedy(&relation, &attack.spelling), evidence);
        }
    }
    let column = attack.tenancy.column.clone();
    let without = guarded_without(&mut attack).await?;
    let verdict = attack.verdict();
    Ok(match without.as_slice() {
        [] => verdict,
        names => verdict.with_remark(format!(
            "row-level security is on for {}, without a column `{column}`: nothing of the family attacks them",
            first_of(names)
        )),
    })
}

/// Tables with row-level security that the roles may use and that nothing attacks, since they have not the tenant's
/// column: whose rows they hold is not known.
async fn guarded_without(attack: &mut Attack) -> Result<Vec<String>> {
    let names: Vec<String> = sqlx::query_scalar(
        "select format('%s.%s', n.nspname, c.relname)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and c.relrowsecurity and not c.relispartition
             and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
             and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = $1 and not a.attisdropped)
             and not exists (
                 select from pg_depend d
                 where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
             )
             and exists (
                 select from unnest($2::text[]) r
                 where has_schema_privilege(r, n.oid, 'usage')
                     and (has_any_column_privilege(r, c.oid, 'select, insert, update')
                         or has_table_privilege(r, c.oid, 'delete'))
             )
         order by 1",
    )
    .bind(&attack.tenancy.column)
    .bind(&attack.roles)
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || "failed to list the tables with row-level security".into())?;
    let is_known = |name: &String| {
        attack.tenancy.exempt.iter().any(|pattern| matches(pattern, name))
            || attack.tables_of_tenants.iter().any(|table| table.name.to_string() == *name)
    };
    Ok(names.into_iter().filter(|name| !is_known(name)).collect())
}

/// Some of the names, and how many more there are.
fn first_of(names: &[String]) -> String {
    match names.len().saturating_sub(NAMES_MAX) {
        0 => listed(names),
        more => {
            let some: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
            format!("{} and {more} more", some.join(", "))
        }
    }
}
