//! Every way to change a row that there is, or to undo what keeps it.

use super::settled::{Column, Settled};
use crate::ident::quote_ident;

/// A statement that changes rows, or the table that they are in, and what people call that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verb {
    pub(super) label: String,
    pub(super) sql: String,
    pub(super) effect: Effect,
}

/// What a statement does when it goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Rows change.
    Rows,
    /// Rows go: a foreign key that stops this stops it for some rows only.
    Gone,
    /// The table is no more what it was: only its owner can do that.
    Table,
}

impl Verb {
    /// Whether it is enough that it goes through.
    pub(super) fn shows_without_rows(&self) -> bool {
        self.effect == Effect::Table || self.sql.starts_with("truncate")
    }
}

impl Settled {
    /// How `role` may try to change its rows.
    pub(super) fn verbs(&self, role: &str) -> Vec<Verb> {
        let table = self.name.sql();
        let verb = |label: String, sql: String, effect: Effect| Verb { label, sql, effect };
        let mut verbs = Vec::new();
        let granted: Vec<(&Column, bool)> = self
            .updatable
            .get(role)
            .into_iter()
            .flatten()
            .filter_map(|(name, reads)| Some((self.settable().find(|column| column.name == *name)?, *reads)))
            .collect();
        // Where nothing is granted, one column shows that it is refused.
        let first = self.settable().next().map(|column| (column, false));
        let tried: Vec<(&Column, bool)> =
            if granted.is_empty() { first.into_iter().collect() } else { granted };
        for (column, reads) in &tried {
            let value = column.other(reads.then_some("t"));
            let name = quote_ident(&column.name);
            verbs.push(verb(
                format!("UPDATE of `{}`", column.name),
                format!("update {table} t set {name} = {value}"),
                Effect::Rows,
            ));
        }
        if let Some((column, reads)) = tried.first() {
            let (name, value) = (quote_ident(&column.name), column.other(reads.then_some("t")));
            verbs.push(verb(
                "MERGE".into(),
                format!("merge into {table} t using (select 1) s on true when matched then update set {name} = {value}"),
                Effect::Rows,
            ));
            if self.part_of.is_none() && !self.key.is_empty() {
                let columns: Vec<String> =
                    self.columns.iter().map(|column| quote_ident(&column.name)).collect();
                let all = columns.join(", ");
                let key: Vec<String> = self.key.iter().map(|key| quote_ident(key)).collect();
                verbs.push(verb(
                    "ON CONFLICT DO UPDATE".into(),
                    format!(
                        "insert into {table} as t ({all}) overriding system value select {all} from {table} limit 1 \
                         on conflict ({}) do update set {name} = {value}",
                        key.join(", ")
                    ),
                    Effect::Rows,
                ));
            }
        }
        verbs.push(verb("DELETE".into(), format!("delete from {table}"), Effect::Gone));
        verbs.push(verb(
            "MERGE … DELETE".into(),
            format!("merge into {table} t using (select 1) s on true when matched then delete"),
            Effect::Gone,
        ));
        verbs.push(verb("TRUNCATE".into(), format!("truncate {table}"), Effect::Gone));
        verbs.push(verb("TRUNCATE".into(), format!("truncate {table} cascade"), Effect::Gone));
        verbs.push(verb(
            "DELETE in replica mode".into(),
            format!("set local session_replication_role = replica; delete from {table}"),
            Effect::Gone,
        ));
        for parent in &self.parents {
            let (above, key) = (parent.table.sql(), quote_ident(&parent.key.name));
            if parent.on_delete {
                verbs.push(verb(
                    format!("a cascade from `{}`", parent.table),
                    format!("delete from {above}"),
                    Effect::Rows,
                ));
            }
            if parent.on_update {
                verbs.push(verb(
                    format!("a cascade from `{}`", parent.table),
                    format!("update {above} t set {key} = {}", parent.key.other(Some("t"))),
                    Effect::Rows,
                ));
            }
        }
        verbs.push(verb(
            "disabling its triggers".into(),
            format!("alter table {table} disable trigger user; delete from {table}"),
            Effect::Table,
        ));
        if let Some(parent) = &self.parent
            && self.kind == "partition"
        {
            verbs.push(verb(
                "DETACH".into(),
                format!("alter table {} detach partition {table}", parent.sql()),
                Effect::Table,
            ));
        }
        verbs.push(verb("DROP".into(), format!("drop table {table} cascade"), Effect::Table));
        verbs
    }
}
