//! How long a migration took, for its row in the history.

use crate::script::TIME;
use std::time::Duration;

/// How long a migration took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// So long.
    Known(Duration),
    /// As long as the transaction goes on that its row is written in: so it can be sent along with the migration.
    SinceBegin,
    /// As long as it is since the [mark](mark) of that transaction: where it is one of several in a message, all of
    /// which began with it as far as the server tells.
    SinceMark,
}

/// Asks for the time in seconds, and notes it until the end of the transaction.
pub(super) fn mark() -> String {
    format!(
        "select pg_catalog.set_config('pgharness.mark', \
           extract(epoch from pg_catalog.clock_timestamp())::text, true)::float8 as {TIME};"
    )
}

impl Took {
    /// A number, as an expression of SQL: of units of which a second has so many.
    pub(super) fn in_units(self, per_second: u64) -> String {
        match self {
            Took::Known(took) => (took.as_nanos() * u128::from(per_second) / 1_000_000_000).to_string(),
            Took::SinceBegin => format!(
                "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * {per_second})::bigint"
            ),
            Took::SinceMark => format!(
                "((extract(epoch from pg_catalog.clock_timestamp())::numeric \
                   - pg_catalog.current_setting('pgharness.mark')::numeric) * {per_second})::bigint"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_a_number() {
        let took = Took::Known(Duration::from_micros(1_999));
        assert_eq!([took.in_units(1_000), took.in_units(1_000_000_000)], ["1", "1999000"]);
    }
}
