//! What a SQLSTATE means for the caller: a class with its HTTP status, and whether trying again may help.
//!
//! The code's text is compared, never an enumeration of a driver: PL/pgSQL can raise any five characters.
//! So every table here ends in a fallback, first for the two characters of the class, then for all.

/// What the caller should make of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Class {
    /// The input cannot be: out of range, malformed, missing, against a rule.
    Invalid,
    /// The role may not do that.
    Forbidden,
    /// What was asked for is not there.
    NotFound,
    /// It clashes with what is there already.
    Conflict,
    /// Nothing was wrong but the moment: the same again may succeed at once.
    Retry,
    /// The database cannot serve at the moment.
    Unavailable,
    /// It took longer than it may.
    Timeout,
    /// A mistake of ours; the client can do nothing about it.
    Internal,
}

impl Class {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Class::Invalid => 400,
            Class::Forbidden => 403,
            Class::NotFound => 404,
            Class::Conflict => 409,
            Class::Retry | Class::Unavailable => 503,
            Class::Timeout => 504,
            Class::Internal => 500,
        }
    }

    /// The value of a `Retry-After` header in seconds, where one belongs.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Class::Retry => Some(1),
            Class::Unavailable => Some(5),
            _ => None,
        }
    }
}

/// Whether trying again may help, and under which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The whole transaction, at once: the server has rolled it back and asks for it.
    Transaction,
    /// After a pause, since a resource was taken.
    AfterPause,
    /// On another connection, and only what may happen twice: the outcome may be unknown.
    WhenIdempotent,
    /// Never by itself.
    Never,
}

/// The class of a SQLSTATE; total, since any code can be raised.
pub fn class(code: &str) -> Class {
    match code {
        // A protocol violation or an unsupported feature is a bug, not an outage.
        "08P01" => Class::Internal,
        // A read-only server is a standby after a failover: the connection leads to the wrong place.
        "25006" => Class::Unavailable,
        "25P03" | "25P04" => Class::Timeout,
        "23502" | "23514" => Class::Invalid,
        "40002" => Class::Conflict,
        // The outcome is unknown: whoever tries again must know that it may have happened.
        "40003" => Class::Unavailable,
        "42501" => Class::Forbidden,
        "54000" => Class::Invalid,
        "55P03" => Class::Retry,
        "57014" => Class::Timeout,
        "P0001" => Class::Invalid,
        "P0002" => Class::NotFound,
        _ => class_of_prefix(code.get(..2).unwrap_or_default()),
    }
}

fn class_of_prefix(prefix: &str) -> Class {
    match prefix {
        "02" => Class::NotFound,
        "10" | "22" => Class::Invalid,
        "0L" | "0P" | "44" => Class::Forbidden,
        "23" | "2B" | "55" => Class::Conflict,
        "40" | "72" => Class::Retry,
        // Class 28 is about the service's own login, not the client's: rotated, revoked, not yet created.
        "08" | "28" | "53" | "57" => Class::Unavailable,
        _ => Class::Internal,
    }
}

/// Whether trying again may help. 57014 never: whoever cancelled the statement meant it.
pub fn retry(code: &str) -> Retry {
    match code {
        "40001" | "40P01" => Retry::Transaction,
        "53300" | "55P03" | "57P03" => Retry::AfterPause,
        "25006" | "40003" | "57P01" | "57P02" => Retry::WhenIdempotent,
        "08P01" => Retry::Never,
        _ if code.starts_with("08") => Retry::WhenIdempotent,
        _ => Retry::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("23505", Class::Conflict, 409)]
    #[case("23503", Class::Conflict, 409)]
    // What 18 raises where 15 to 17 raise 23503.
    #[case("23001", Class::Conflict, 409)]
    #[case("23502", Class::Invalid, 400)]
    #[case("22P02", Class::Invalid, 400)]
    #[case("40001", Class::Retry, 503)]
    #[case("57014", Class::Timeout, 504)]
    #[case("53300", Class::Unavailable, 503)]
    #[case("42501", Class::Forbidden, 403)]
    // A missing table is our mistake, not the client's.
    #[case("42P01", Class::Internal, 500)]
    // Unknown, of a known class; unknown altogether; no code at all.
    #[case("23ZZZ", Class::Conflict, 409)]
    #[case("ZZ999", Class::Internal, 500)]
    #[case("", Class::Internal, 500)]
    fn codes_are_sorted(#[case] code: &str, #[case] expected: Class, #[case] status: u16) {
        assert_eq!((class(code), class(code).status()), (expected, status));
    }

    #[rstest]
    #[case("40001", Retry::Transaction)]
    #[case("40P01", Retry::Transaction)]
    #[case("53300", Retry::AfterPause)]
    #[case("08006", Retry::WhenIdempotent)]
    #[case("57014", Retry::Never)]
    #[case("23505", Retry::Never)]
    fn retries_have_tiers(#[case] code: &str, #[case] expected: Retry) {
        assert_eq!(retry(code), expected);
    }

    proptest! {
        #[test]
        fn any_text_has_a_class_and_an_error_status(code in ".{0,8}") {
            prop_assert!((400..600).contains(&class(&code).status()));
            let _ = retry(&code);
        }

        #[test]
        fn what_is_retried_at_once_says_so_to_the_client(code in "[0-9A-Z]{5}") {
            if retry(&code) == Retry::Transaction {
                prop_assert_eq!(class(&code), Class::Retry);
            }
        }
    }
}
