//! Who may do what, as a project declares it.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// A privilege, in the server's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the server's words need no other")]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    References,
    Trigger,
    Maintain,
    Usage,
    Execute,
    Create,
}

/// As SQL writes it, in lower case.
impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Privilege::Select => "select",
            Privilege::Insert => "insert",
            Privilege::Update => "update",
            Privilege::Delete => "delete",
            Privilege::Truncate => "truncate",
            Privilege::References => "references",
            Privilege::Trigger => "trigger",
            Privilege::Maintain => "maintain",
            Privilege::Usage => "usage",
            Privilege::Execute => "execute",
            Privilege::Create => "create",
        })
    }
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Tables whose rows are only ever added, with `*` for any characters.
    pub append_only: Vec<String>,
    /// Tables whose rows never change, with `*` for any characters.
    pub immutable: Vec<String>,
    /// By role, then by object (with `*` for any characters): all that it may do there.
    pub matrix: BTreeMap<String, BTreeMap<String, Vec<Privilege>>>,
}
