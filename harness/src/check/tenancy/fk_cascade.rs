//! `tenancy.fk-cascade`: whether deleting a row of one tenant reaches rows of another.

use super::probe::{ROW, Why};
use super::references::{self, Reference, Stray};
use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Leak, Tried};
use super::wording::rows;
use super::writing::{Actor, Writing};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Severity};
use crate::fixture::rows::Wish;
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use std::collections::BTreeSet;

/// Deleting a row of one tenant deletes and changes no row of another.
pub(in crate::check) struct FkCascade;

impl Check for FkCascade {
    fn id(&self) -> &'static str {
        "tenancy.fk-cascade"
    }

    fn summary(&self) -> &'static str {
        "deleting a row of one tenant reaches no row of another"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every foreign key with ON DELETE CASCADE, SET NULL or SET DEFAULT between two tables with the \
                     tenant's column that does not include it, every role of `tenancy.roles` that may insert into the \
                     one and delete from the other does both in one transaction: as one tenant it inserts a row that \
                     refers to another tenant's, as that other one it deletes the row referred to. One of the two is \
                     refused. All is rolled back. ON UPDATE is not tried.",
            matters: "What a foreign key does to a child it does without row-level security. A tenant that deletes a row \
                      of its own then deletes rows of another that it never saw, and nobody is told.",
            remedy: "Make the key of the parent `(tenant_id, id)` and let the foreign key include both: then no row of \
                     another tenant can hang on it. Or use ON DELETE RESTRICT.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.fk-cascade":
            "bad.sql", "bad_no_read.sql", "bad_set_null.sql", "good.sql", "good_check.sql", "good_restrict.sql",
            "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "delete from projects where id = 1",
            gets: "rid of its project, and of B's task that refers to it",
            because: "a cascade runs without row-level security, and the foreign key says nothing of the tenant",
            fix: "alter table projects add unique (tenant_id, id);
alter table tasks drop constraint tasks_project_id_fkey,
    add foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let (mut writing, mut actors) = match Writing::prepare(context, "tenancy.fk-cascade").await? {
        Ok(scene) => scene,
        Err(verdict) => return Ok(verdict),
    };
    let (tenant, relations) = (writing.attack.tenancy.column.clone(), writing.attack.relations.clone());
    for reference in references::read(&mut writing.attack.control, &tenant, &relations).await? {
        let find = |name: &QualifiedName| relations.iter().find(|relation| relation.name == *name);
        let (Some(child), Some(parent)) = (find(&reference.child), find(&reference.parent)) else { continue };
        if !matches!(reference.on_delete.as_str(), "c" | "n" | "d") {
            continue;
        }
        let own: BTreeSet<String> = reference.pairs.iter().map(|(own, _)| own.clone()).collect();
        let mut is_fresh = false;
        let mut tried = Vec::new();
        for actor in &mut actors {
            let Some(columns) = child.writers.get(&actor.role).filter(|columns| own.is_subset(columns))
            else {
                continue;
            };
            if !writing.rights.of(parent, &actor.role).deletes {
                continue;
            }
            if !is_fresh {
                add_parent(&mut writing, parent).await?;
                is_fresh = true;
            }
            let outcome = attempt(&mut writing, actor, child, &reference, columns).await?;
            tried.push((actor.role.clone(), outcome));
        }
        writing.report(parent, tried);
    }
    Ok(writing.verdict())
}

/// A row of the attacker's that no row refers to; where there can be none, an older one has to do.
async fn add_parent(writing: &mut Writing, parent: &Relation) -> Result<()> {
    let wish = Wish { canary: None, ..writing.attack.wish_of(&writing.attack.tenants.own) };
    if let Ok(steps) = writing.rows.add(&mut writing.attack.control, &parent.name, &wish).await? {
        writing.attack.seeds.journal.extend(steps);
    }
    Ok(())
}

async fn attempt(
    writing: &mut Writing,
    actor: &mut Actor,
    child: &Relation,
    reference: &Reference,
    columns: &BTreeSet<String>,
) -> Result<Tried> {
    let tenants = writing.attack.tenants.clone();
    let stray = match reference.stray(writing, child, columns, &tenants.other, &tenants.own).await? {
        Ok(stray) => stray,
        Err(reason) => return Ok(Tried::Unknown(reason)),
    };
    let Some(row) = writing.evaluate(&stray.json).await? else {
        return Ok(Tried::Unknown("it has no row of the tenant that asks".into()));
    };
    let reads = writing.rights.of(child, &actor.role).reads;
    let may_count = reference.pairs.iter().all(|(own, _)| reads.contains(own));
    let statements = statements(writing, child, reference, &stray, may_count);
    let played = writing.play(&mut actor.own, &statements, Some(&row)).await?;
    let deleted = played.figures.get(DELETE).copied().unwrap_or_default();
    let Some(refusal) = played.refusal else {
        if deleted == 0 {
            return Ok(Tried::Refused);
        }
        let results = statements.into_iter().zip(played.figures).enumerate();
        let steps = results.map(|(place, (sql, figure))| {
            let rows = rows(figure);
            let result = match place {
                INSERT => format!("{rows} inserted"),
                DELETE => format!("{rows} deleted"),
                COUNT => format!("{rows} of the other tenant refer to it"),
                _ => String::new(),
            };
            Evidence::as_role(&actor.role, sql, result)
        });
        let mut evidence = writing.setting_up(child, Some((&stray.json, &stray.reads)));
        evidence.extend(transcript(&actor.own, steps.collect()));
        let what = if reference.on_delete == "c" { "deletes a row" } else { "takes a reference from a row" };
        return Ok(Tried::Leak(Leak {
            class: Class::Mistake,
            severity: Severity::Error,
            does: format!(
                "deletes a row of its own in `{}`, and so {what} of another tenant in `{}`, by `{}`",
                reference.parent, child.name, reference.name
            ),
            help: "let the foreign key include the tenant, so that no row of another can hang on it; or \
                   `on delete restrict`"
                .into(),
            evidence,
        }));
    };
    Ok(if refusal.why == Why::Circumstances {
        Tried::Unknown(format!("the statement failed ({refusal})"))
    } else {
        Tried::Refused
    })
}

/// Where the statements stand that matter.
const INSERT: usize = 1;
const DELETE: usize = 3;
const COUNT: usize = 5;

/// As the other tenant inserts a row that refers to one of the attacker's; as the attacker deletes that; as the other
/// tenant counts what is left.
fn statements(
    writing: &Writing,
    child: &Relation,
    reference: &Reference,
    stray: &Stray,
    may_count: bool,
) -> Vec<String> {
    let tenants = &writing.attack.tenants;
    let work_for = |tenant: &str| {
        let (setting, value) = writing.attack.context_of(tenant);
        format!("select set_config({}, {}, true)", quote_literal(&setting), quote_literal(&value))
    };
    let own = reference.own_columns();
    let new: Vec<String> = own.iter().map(|column| format!("new.{column}")).collect();
    let theirs: Vec<String> = reference.pairs.iter().map(|(_, theirs)| quote_ident(theirs)).collect();
    let key = format!(
        "(select {} from jsonb_populate_record(null::{}, current_setting({})::jsonb) new)",
        new.join(", "),
        child.name.sql(),
        quote_literal(ROW)
    );
    let mut statements = vec![
        work_for(&tenants.other),
        stray.sql.clone(),
        work_for(&tenants.own),
        format!("delete from {} where ({}) = {key}", reference.parent.sql(), theirs.join(", ")),
    ];
    if may_count {
        statements.push(work_for(&tenants.other));
        statements.push(format!(
            "select count(*) from {} where ({}) = {key}",
            child.name.sql(),
            own.join(", ")
        ));
    }
    statements
}
