//! Statements that Flyway knows to be impossible in a transaction, for which it uses none.

use crate::error::Result;
use crate::script::{Purpose, Script, split};

/// Whether the script runs without a transaction since its statements cannot run in one.
///
/// # Errors
/// Some of its statements can and others cannot, which Flyway refuses.
pub(super) fn leaves_transaction(script: &Script) -> Result<bool> {
    let (cannot, can): (Vec<_>, Vec<_>) =
        split(script.text()).into_iter().partition(|statement| is_apart(statement.text));
    match (cannot.first(), can.is_empty()) {
        (None, _) => Ok(false),
        (Some(_), true) => Ok(true),
        (Some(first), false) => Err(script.refuse(
            Purpose::Migration,
            first.offset,
            "mixes this statement, which cannot run in a transaction, with others that can, which flyway refuses",
            "give it a migration of its own",
        )),
    }
}

/// Whether a statement begins like one that cannot run in a transaction.
fn is_apart(statement: &str) -> bool {
    let words: Vec<String> = statement.split_whitespace().take(4).map(str::to_ascii_uppercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["CREATE" | "DROP", "DATABASE" | "TABLESPACE" | "SUBSCRIPTION", ..]
        | ["CREATE" | "DROP", "INDEX", "CONCURRENTLY", ..]
        | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY"]
        | ["ALTER", "SYSTEM", ..]
        | ["REINDEX", "SCHEMA" | "DATABASE" | "SYSTEM", ..]
        | ["REINDEX", "VERBOSE", "SCHEMA" | "DATABASE" | "SYSTEM", ..]
        | ["DISCARD", "ALL", ..] => true,
        [first, ..] => *first == "VACUUM" || first.starts_with("VACUUM("),
        [] => false,
    }
}
