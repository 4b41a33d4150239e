//! `tenancy.key-oracle`: whether a key that is taken tells of another tenant's row.

use super::keys::{self, Key};
use super::references::in_words;
use super::tables::Relation;
use super::tried::{Leak, Reach, Tried};
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::Severity;
use crate::server::Capability;

/// That a key is taken tells nothing of another tenant.
pub(in crate::check) struct KeyOracle;

impl Check for KeyOracle {
    fn id(&self) -> &'static str {
        "tenancy.key-oracle"
    }

    fn summary(&self) -> &'static str {
        "that a key is taken tells nothing of another tenant's rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every unique key and exclusion constraint that does not include the tenant's column, every role \
                     of `tenancy.roles` that may insert sets a tenant, and inserts a row of its own with the key of \
                     another tenant's row. It goes in, or is refused by something else; a row with a key of its own goes \
                     in, or nothing is proven and a note says so. Left out are keys that nobody can guess (uuid, bytea, \
                     columns named as hashes and tokens), those that the server draws from a sequence, which say no more \
                     than the next number does, and those of rows that refer to another tenant's row, which is the \
                     matter of `tenancy.fk-reference`.",
            matters: "A duplicate is refused although the row with the same key cannot be seen. Whoever may try e-mail \
                      addresses, names or invoice numbers learns which of them other tenants have: who is a customer, \
                      and how many there are.",
            remedy: "Let unique keys begin with the tenant: `unique (tenant_id, email)`. Where a key is meant to be \
                     unique across tenants (a domain name, a login), allow it with the reason.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.key-oracle":
            "bad.sql", "bad_exclusion.sql", "bad_expression.sql", "bad_number.sql", "bad_partial.sql",
            "good.sql", "good_random.sql", "good_sequence.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "insert into customers (tenant_id, email) values ('A', 'bob@example.com')",
            gets: "a duplicate key: so Bob is somebody's customer, and not A's",
            because: "the address is unique across all tenants",
            fix: "alter table customers drop constraint customers_email_key, add unique (tenant_id, email)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.key-oracle", Guess))
    }
}

struct Guess;

impl Assault for Guess {
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
            match guess(writing, actor, relation, &key).await? {
                Some(Tried::Leak(leak)) => return Ok(Some(Tried::Leak(leak))),
                other => outcome = other.or(outcome),
            }
        }
        Ok(outcome)
    }
}

async fn guess(
    writing: &mut Writing,
    actor: &mut Actor,
    relation: &Relation,
    key: &Key,
) -> Result<Option<Tried>> {
    let twin = match key.twin(writing, actor, relation).await? {
        None => return Ok(None),
        Some(Ok(twin)) => twin,
        Some(Err(reason)) => return Ok(Some(Tried::Unknown(reason))),
    };
    let reach = writing.probe(&mut actor.own, &twin.insert, Some(&twin.row)).await?;
    let refusal = match reach {
        Reach::Stopped(refusal) if refusal.constraint.as_deref() == Some(&key.name) => refusal,
        Reach::Unknown(refusal) => {
            return Ok(Some(Tried::Unknown(format!("the statement failed ({refusal})"))));
        }
        _ => return Ok(Some(Tried::Refused)),
    };
    let columns = in_words(&key.columns);
    let does = format!(
        "learns that another tenant has a row with the same ({columns}) in `{}`: `{}` refuses it",
        relation.name, key.name
    );
    let row = Some((twin.json.as_str(), &twin.reads));
    let leak = writing.leak(relation, &actor.own, row, (twin.insert, refusal.to_string()), does);
    Ok(Some(Tried::Leak(Leak { severity: Severity::Warning, help: help(relation, key), ..leak })))
}

/// How to close it.
pub(super) fn help(relation: &Relation, key: &Key) -> String {
    format!(
        "let `{}` begin with the tenant: `({}, {})`; or allow it, if it is meant to be unique across tenants",
        key.name,
        relation.column,
        in_words(&key.columns)
    )
}
