//! `tenancy.fk-reference`: whether a row of one tenant may refer to a row of another.

use super::references::{self, Reference, in_words};
use super::tables::Relation;
use super::tried::{Leak, Reach, Tried};
use super::writing::{Actor, Writing};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::ident::quote_ident;
use crate::server::Capability;
use std::collections::BTreeSet;

/// A row refers to rows of its own tenant only.
pub(in crate::check) struct FkReference;

impl Check for FkReference {
    fn id(&self) -> &'static str {
        "tenancy.fk-reference"
    }

    fn summary(&self) -> &'static str {
        "a row of one tenant cannot refer to a row of another"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every foreign key between two tables with the tenant's column that does not include it, every \
                     role of `tenancy.roles` that may insert into the table sets a tenant, and inserts a row of its own \
                     that refers to another tenant's row. The server refuses, by a policy, a trigger or another key. The \
                     same row with a parent of its own goes in: else nothing is proven, and a note says so. Keys that \
                     include the tenant's column on both sides need no trial.",
            matters: "The server checks foreign keys without row-level security. A tenant may so tie its rows to \
                      another's: joins then run across, the other cannot delete what is referred to or deletes more than \
                      it sees, and whether the key is accepted tells that the hidden row exists.",
            remedy: "Make the key of the parent `(tenant_id, id)` and let the foreign key include both: \
                     `foreign key (tenant_id, customer_id) references customers (tenant_id, id)`. Or demand in WITH CHECK \
                     that the parent can be seen.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.fk-reference":
            "bad.sql", "bad_nullable.sql", "bad_partitioned.sql", "bad_self.sql", "bad_unique.sql", "bad_update.sql",
            "good.sql", "good_check.sql", "good_deferred.sql", "good_lookup.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "insert into orders (tenant_id, customer_id) values ('A', 2)",
            gets: "an order of A for customer 2, who is B's and whom A cannot see",
            because: "the server checks foreign keys without row-level security, and this one says nothing of the tenant",
            fix: "alter table customers add unique (tenant_id, id);
alter table orders drop constraint orders_customer_id_fkey,
    add foreign key (tenant_id, customer_id) references customers (tenant_id, id)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let (mut writing, mut actors) = match Writing::prepare(context, "tenancy.fk-reference").await? {
        Ok(scene) => scene,
        Err(verdict) => return Ok(verdict),
    };
    let (tenant, relations) = (writing.attack.tenancy.column.clone(), writing.attack.relations.clone());
    for reference in references::read(&mut writing.attack.control, &tenant, &relations).await? {
        let Some(child) = relations.iter().find(|relation| relation.name == reference.child) else {
            continue;
        };
        let mut tried = Vec::new();
        for actor in &mut actors {
            if let Some(outcome) = attempt(&mut writing, actor, child, &reference).await? {
                tried.push((actor.role.clone(), outcome));
            }
        }
        writing.report(child, tried);
    }
    Ok(writing.verdict())
}

async fn attempt(
    writing: &mut Writing,
    actor: &mut Actor,
    child: &Relation,
    reference: &Reference,
) -> Result<Option<Tried>> {
    let own: BTreeSet<String> = reference.pairs.iter().map(|(own, _)| own.clone()).collect();
    let inserts = child.writers.get(&actor.role).cloned().unwrap_or_default();
    let may_insert = own.is_subset(&inserts);
    if !may_insert && !own.is_subset(&writing.rights.of(child, &actor.role).updates) {
        return Ok(None);
    }
    let tenants = writing.attack.tenants.clone();
    let everything;
    let columns = if may_insert {
        &inserts
    } else {
        everything = writing.rights.of(child, &actor.role).reads.union(&own).cloned().collect();
        &everything
    };
    let stray = match reference.stray(writing, child, columns, &tenants.own, &tenants.other).await? {
        Ok(stray) => stray,
        Err(reason) => return Ok(Some(Tried::Unknown(reason))),
    };
    let Some(row) = writing.evaluate(&stray.json).await? else {
        let reason = format!("`{}` has no row of another tenant", reference.parent);
        return Ok(Some(Tried::Unknown(reason)));
    };
    let sql = if may_insert { stray.sql.clone() } else { moving(child, reference, &writing.tenants().0) };
    let (sql, reach) = if may_insert {
        let reach = writing.probe(&mut actor.own, &sql, Some(&row)).await?;
        (sql, reach)
    } else {
        writing.probe_each(&mut actor.own, &sql, Some(&row)).await?
    };
    let does = format!(
        "makes a row of its own in `{}` refer to a row of another tenant in `{}`, by `{}`",
        child.name, reference.parent, reference.name
    );
    match reach {
        Reach::Rows(_) => {
            let result = if may_insert { "1 row inserted" } else { "1 row updated" };
            let row = Some((stray.json.as_str(), &stray.reads));
            let leak = writing.leak(child, &actor.own, row, (sql, result.into()), does);
            Ok(Some(Tried::Leak(Leak { help: help(child, reference), ..leak })))
        }
        Reach::Unknown(refusal) => Ok(Some(Tried::Unknown(format!("the statement failed ({refusal})")))),
        _ if !may_insert => Ok(Some(Tried::Refused)),
        refused => {
            let (sql, json) = &stray.honest;
            let Some(honest) = writing.evaluate(json).await? else {
                return Ok(Some(Tried::Unknown("the row to copy is gone".into())));
            };
            let reach = writing.control(&mut actor.own, sql, Some(&honest)).await?;
            let is_dead = matches!(reach, Reach::Refused(_) | Reach::Nothing | Reach::Unknown(_));
            let said = match refused {
                Reach::Refused(refusal) | Reach::Stopped(refusal) => format!(" ({refusal})"),
                _ => String::new(),
            };
            Ok(Some(if is_dead {
                Tried::Unknown(format!("it refuses any row{said}"))
            } else {
                Tried::Refused
            }))
        }
    }
}

/// Lets rows that are there refer to another parent.
fn moving(child: &Relation, reference: &Reference, own: &str) -> String {
    let table = child.name.sql();
    let columns = reference.own_columns();
    let new: Vec<String> = columns.iter().map(|column| format!("new.{column}")).collect();
    format!(
        "update {table} set ({}) = (select {} from jsonb_populate_record(null::{table}, current_setting('{}')::jsonb) new) \
         where {} = {own}",
        columns.join(", "),
        new.join(", "),
        super::probe::ROW,
        child.column
    )
}

fn help(child: &Relation, reference: &Reference) -> String {
    let tenant = &child.column;
    let list = |columns: Vec<&String>| -> String {
        let quoted: Vec<String> = columns.into_iter().map(|name| quote_ident(name)).collect();
        quoted.join(", ")
    };
    format!(
        "let the foreign key ({}) include the tenant: `foreign key ({tenant}, {}) references {} ({tenant}, {})`",
        in_words(reference.pairs.iter().map(|(own, _)| own)),
        list(reference.pairs.iter().map(|(own, _)| own).collect()),
        reference.parent.sql(),
        list(reference.pairs.iter().map(|(_, theirs)| theirs).collect()),
    )
}
