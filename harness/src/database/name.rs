//! The names of our databases: each says what it is and whose.

use crate::server::OwnerId;
use std::fmt;

/// A database of ours, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseName {
    /// `pgh_a_<digest>`: what a bootstrap left behind, which templates begin with. Its roles are there as long as
    /// its server, so it is never run twice.
    Base { digest: String },
    /// `pgh_t_<digest>`: a template. That the name exists means that it is complete.
    Template { digest: String },
    /// `pgh_b_<owner>_<n>`: a template that its owner builds.
    Building { owner: OwnerId, number: u64 },
    /// `pgh_r_<digest>_<owner>_<n>`: a clone of that template made ahead; complete as soon as it can be seen, so
    /// that anybody may claim it even when its maker is dead.
    Ready { digest: String, maker: OwnerId, number: u64 },
    /// `pgh_c_<owner>_<n>`: a clone in use by its owner; or by whoever the shelf says, if it has a file there.
    Claimed { owner: OwnerId, number: u64 },
}

/// All names of ours start with this.
pub(crate) const PREFIX: &str = "pgh_";

/// The digits of a template's digest in names.
pub(crate) const DIGEST_DIGITS: usize = 16;

impl DatabaseName {
    /// Reads a name; `None`: it is none of ours.
    pub(crate) fn parse(name: &str) -> Option<DatabaseName> {
        let (kind, rest) = name.strip_prefix(PREFIX)?.split_once('_')?;
        let mut parts = rest.split('_');
        let mut owned = || Some((OwnerId::parse(parts.next()?)?, parts.next()?.parse().ok()?));
        let parsed = match kind {
            "a" => Some(DatabaseName::Base { digest: rest.to_owned() }),
            "b" => owned().map(|(owner, number)| DatabaseName::Building { owner, number }),
            "c" => owned().map(|(owner, number)| DatabaseName::Claimed { owner, number }),
            "r" => {
                let (digest, _) = rest.split_once('_')?;
                let mut parts = rest.split('_').skip(1);
                let maker = OwnerId::parse(parts.next()?)?;
                let number = parts.next()?.parse().ok()?;
                Some(DatabaseName::Ready { digest: digest.to_owned(), maker, number })
            }
            "t" => Some(DatabaseName::Template { digest: rest.to_owned() }),
            _ => None,
        }?;
        // Only what would be written like this is ours.
        (parsed.to_string() == name).then_some(parsed)
    }

    /// Names of the clones made ahead from a template start with this.
    pub(crate) fn ready_prefix(digest: &str) -> String {
        format!("{PREFIX}r_{digest}_")
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseName::Base { digest } => write!(f, "{PREFIX}a_{digest}"),
            DatabaseName::Template { digest } => write!(f, "{PREFIX}t_{digest}"),
            DatabaseName::Building { owner, number } => write!(f, "{PREFIX}b_{owner}_{number}"),
            DatabaseName::Ready { digest, maker, number } => write!(f, "{PREFIX}r_{digest}_{maker}_{number}"),
            DatabaseName::Claimed { owner, number } => write!(f, "{PREFIX}c_{owner}_{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_are_read_back(owner in "[0-9a-f]{16}", digest in "[0-9a-f]{16}", number in any::<u64>(), kind in 0..5) {
            let owner = OwnerId::parse(&owner).unwrap();
            let name = match kind {
                0 => DatabaseName::Template { digest },
                1 => DatabaseName::Building { owner, number },
                2 => DatabaseName::Base { digest },
                3 => DatabaseName::Ready { digest, maker: owner, number },
                _ => DatabaseName::Claimed { owner, number },
            };
            prop_assert!(name.to_string().len() < 64, "longer than the server's names");
            prop_assert_eq!(DatabaseName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn other_names_are_none_of_ours(name in "[a-z_0-9]{0,40}") {
            if let Some(parsed) = DatabaseName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }

    #[test]
    fn a_name_that_only_looks_like_ours_is_not() {
        assert_eq!(DatabaseName::parse("pgh_c_0123456789abcdef_07"), None);
        assert_eq!(DatabaseName::parse("pgh_c_0123456789abcdef_7_x"), None);
        assert_eq!(DatabaseName::parse("pgh_production"), None);
    }
}
