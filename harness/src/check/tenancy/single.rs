//! Rows one by one: what stops a statement that would change all of them may let another pass.

use super::tables::Relation;
use crate::ident::quote_literal;

/// How many rows are tried one by one when a constraint stops a statement that would change all of them.
pub(super) const ROWS_MAX: usize = 5;

/// A condition that holds for the row of this number only, and reads no column: then only the policies of the verb
/// itself are asked. The rows of others count too: what reads no column can leak none, and so the server may ask it
/// before the policies.
pub(super) fn single(row: usize) -> String {
    let count = quote_literal(COUNT);
    format!("set_config({count}, concat(current_setting({count}, true), 'x'), true) = '{}'", "x".repeat(row))
}

/// Conditions that hold for one row each of `tenant`, a literal: some of the first, and the youngest, which is likelier to
/// be in work still.
pub(super) fn singles(relation: &Relation, tenant: &str) -> Vec<String> {
    let mut singles: Vec<String> = (1..=ROWS_MAX).map(single).collect();
    if relation.is_store() {
        singles.push(format!(
            "ctid in (select l.ctid from {} l where l.{} = {tenant} order by l.ctid desc limit 1)",
            relation.name.sql(),
            relation.column
        ));
    }
    singles
}

/// The setting in which a statement counts the rows that it comes by.
const COUNT: &str = "pgharness.count";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_singled_out_without_reading_it() {
        assert_eq!(
            single(3),
            "set_config('pgharness.count', concat(current_setting('pgharness.count', true), 'x'), true) = 'xxx'"
        );
    }
}
