//! `tenancy.conflict-oracle`: what ON CONFLICT does about a row that cannot be seen.

use super::key_oracle::help;
use super::keys::{self, Key, Twin};
use super::references::in_words;
use super::tables::Relation;
use super::tried::{Leak, Reach, Tried};
use super::wording::rows;
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::Severity;
use crate::ident::quote_ident;
use crate::server::Capability;

/// ON CONFLICT tells nothing of another tenant's row, and does nothing to it.
pub(in crate::check) struct ConflictOracle;

impl Check for ConflictOracle {
    fn id(&self) -> &'static str {
        "tenancy.conflict-oracle"
    }

    fn summary(&self) -> &'static str {
        "ON CONFLICT neither changes another tenant's row nor tells that it is there"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every unique key that does not include the tenant's column and can be guessed (see \
                     `tenancy.key-oracle`), every role of `tenancy.roles` that may insert sets a tenant, and inserts a row \
                     of its own with the key of another tenant's row: with ON CONFLICT DO UPDATE, and with ON CONFLICT DO \
                     NOTHING. Neither changes the other's row, which would be an error, nor is the row left out, which is \
                     a hazard. A row with a key of its own goes in: else nothing is proven, and a note says so.",
            matters: "An upsert on a key that tenants share meets rows of others. DO NOTHING then drops the tenant's own \
                      row without a word, fails no transaction and leaves nothing in the log; so addresses and numbers \
                      can be tried by the thousand. DO UPDATE writes into the other's row where the policy for UPDATE is \
                      too wide.",
            remedy: "Let unique keys begin with the tenant, and name that key in ON CONFLICT: \
                     `on conflict (tenant_id, email)`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.conflict-oracle":
            "bad.sql", "bad_index.sql", "bad_update.sql", "good.sql", "good_random.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "insert into customers (tenant_id, email) values ('A', 'bob@example.com') on conflict do nothing",
            gets: "no row and no error: so Bob is somebody's customer, and A's own row is lost",
            because: "the address is unique across all tenants",
            fix: "alter table customers drop constraint customers_email_key, add unique (tenant_id, email)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.conflict-oracle", Upsert))
    }
}

struct Upsert;

impl Assault for Upsert {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        if !relation.is_store() || !relation.writers.contains_key(&actor.role) {
            return Ok(None);
        }
        let tenant = writing.attack.tenancy.column.clone();
        let mut outcome = None;
        for key in keys::read(&mut writing.attack.control, &tenant, relation).await? {
            let twin = match key.twin(writing, actor, relation).await? {
                None => continue,
                Some(Ok(twin)) => twin,
                Some(Err(reason)) => {
                    outcome = Some(Tried::Unknown(reason));
                    continue;
                }
            };
            if let Some(leak) = update(writing, actor, relation, &key, &twin).await? {
                return Ok(Some(Tried::Leak(leak)));
            }
            if let Some(leak) = nothing(writing, actor, relation, &key, &twin).await? {
                return Ok(Some(Tried::Leak(leak)));
            }
            outcome = outcome.or(Some(Tried::Refused));
        }
        Ok(outcome)
    }
}

/// Writes into the row that has the key.
async fn update(
    writing: &mut Writing,
    actor: &mut Actor,
    relation: &Relation,
    key: &Key,
    twin: &Twin,
) -> Result<Option<Leak>> {
    let updates = writing.rights.of(relation, &actor.role).updates;
    let (true, Some(any)) = (key.is_constraint, updates.iter().next()) else { return Ok(None) };
    let any = quote_ident(any);
    let sql = format!(
        "{} on conflict on constraint {} do update set {any} = excluded.{any}",
        twin.insert,
        quote_ident(&key.name)
    );
    let Reach::Rows(_) = writing.probe(&mut actor.own, &sql, Some(&twin.row)).await? else { return Ok(None) };
    let does = format!(
        "changes a row of another tenant in `{}` that has the same ({})",
        relation.name,
        in_words(&key.columns)
    );
    let row = Some((twin.json.as_str(), &twin.reads));
    let leak = writing.leak(relation, &actor.own, row, (sql, "1 row inserted or updated".into()), does);
    Ok(Some(Leak { help: help(relation, key), ..leak }))
}

/// Leaves its own row out.
async fn nothing(
    writing: &mut Writing,
    actor: &mut Actor,
    relation: &Relation,
    key: &Key,
    twin: &Twin,
) -> Result<Option<Leak>> {
    let sql = format!("{} on conflict do nothing", twin.insert);
    let Reach::Nothing = writing.probe(&mut actor.own, &sql, Some(&twin.row)).await? else { return Ok(None) };
    let does = format!(
        "learns that another tenant has a row with the same ({}) in `{}`: its own is left out",
        in_words(&key.columns),
        relation.name
    );
    let row = Some((twin.json.as_str(), &twin.reads));
    let leak = writing.leak(relation, &actor.own, row, (sql, format!("{} inserted", rows(0))), does);
    Ok(Some(Leak { severity: Severity::Warning, help: help(relation, key), ..leak }))
}
