//! How far a statement came, and what a role's attempts came to.

use super::probe::{Refusal, Why};
use crate::error::Result;
use crate::finding::{Class, Evidence, Severity};

/// What one role's attempts on one relation came to.
#[derive(Clone, PartialEq)]
pub(super) enum Tried {
    /// The server refused, or there was nothing to be reached; and the tenant's own rows can be.
    Refused,
    Leak(Leak),
    /// Not even the tenant's own rows can be reached.
    Dead(Dead),
    Unknown(String),
}

/// Something that should not have been possible.
#[derive(Clone)]
pub(super) struct Leak {
    pub(super) class: Class,
    pub(super) severity: Severity,
    /// What the roles do, as the end of a sentence: "changes rows of another tenant in `orders`".
    pub(super) does: String,
    pub(super) help: String,
    pub(super) evidence: Vec<Evidence>,
}

/// Roles whose leaks differ in the transcript only are named together.
impl PartialEq for Leak {
    fn eq(&self, other: &Self) -> bool {
        (self.class, self.severity, &self.does) == (other.class, other.severity, &other.does)
    }
}

/// A statement that does nothing, though it may.
#[derive(Clone)]
pub(super) struct Dead {
    /// The verb of the privilege: "update".
    pub(super) verb: &'static str,
    pub(super) evidence: Vec<Evidence>,
}

impl PartialEq for Dead {
    fn eq(&self, other: &Self) -> bool {
        self.verb == other.verb
    }
}

/// How far a statement came.
pub(super) enum Reach {
    /// It changed rows.
    Rows(u64),
    /// It got past all policies, and a constraint stopped it.
    Stopped(Refusal),
    /// It found no row.
    Nothing,
    /// The server refused it.
    Refused(Refusal),
    /// It ran out of something.
    Unknown(Refusal),
}

impl Reach {
    pub(super) fn of(outcome: Result<u64, Refusal>) -> Reach {
        match outcome {
            Ok(0) => Reach::Nothing,
            Ok(rows) => Reach::Rows(rows),
            Err(refusal) if refusal.why == Why::Circumstances => Reach::Unknown(refusal),
            Err(refusal) if refusal.is_of_a_constraint() => Reach::Stopped(refusal),
            Err(refusal) => Reach::Refused(refusal),
        }
    }

    /// Whether another row could pass.
    pub(super) fn is_about_a_row(&self) -> bool {
        match self {
            Reach::Stopped(_) => true,
            Reach::Refused(refusal) => refusal.why == Why::Other,
            _ => false,
        }
    }

    /// Whether a row was found, whatever happened to it then.
    pub(super) fn is_reached(&self) -> bool {
        matches!(self, Reach::Rows(_) | Reach::Stopped(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn refusal(code: &str, why: Why) -> Result<u64, Refusal> {
        let constraint = (code == "23503").then(|| "orders_customer_fkey".to_owned());
        Err(Refusal { code: code.into(), why, constraint, is_raised: false })
    }

    /// What a function raises, as if a constraint had refused.
    fn raised(code: &str) -> Result<u64, Refusal> {
        refusal(code, Why::Other).map_err(|refusal| Refusal { is_raised: true, ..refusal })
    }

    #[rstest]
    #[case::changed(Ok(2), true, false)]
    #[case::nothing(Ok(0), false, false)]
    #[case::a_key_stops_it(refusal("23503", Why::Other), true, true)]
    #[case::a_column_may_not_be_null(refusal("23502", Why::Other), true, true)]
    #[case::a_trigger_raises(refusal("P0001", Why::Other), false, true)]
    #[case::a_trigger_raises_like_a_constraint(refusal("23514", Why::Other), false, true)]
    #[case::a_trigger_raises_like_a_key(raised("23503"), false, true)]
    #[case::a_trigger_raises_like_a_column(raised("23502"), false, true)]
    #[case::a_policy_refuses(refusal("42501", Why::Policy), false, false)]
    #[case::it_took_too_long(refusal("57014", Why::Circumstances), false, false)]
    fn a_row_is_reached_where_a_policy_let_it_pass(
        #[case] outcome: Result<u64, Refusal>,
        #[case] is_reached: bool,
        #[case] may_another_pass: bool,
    ) {
        let reach = Reach::of(outcome);
        assert_eq!((reach.is_reached(), reach.is_about_a_row()), (is_reached, may_another_pass));
    }
}
