//! One place at which an operator breaks something.

use super::folder::Folder;

/// One place at which an operator breaks something, and how.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// What is broken: an object, a file, a statement of a file.
    pub(super) target: String,
    pub(super) deed: Deed,
}

/// How it is broken.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// These statements are run in a copy of the migrated database, which is then the live one.
    Live(String),
    /// The migrations are others.
    Files(Folder),
}

impl Site {
    /// A change by hand of the live database.
    pub(super) fn live(target: impl Into<String>, sql: impl Into<String>) -> Site {
        Site { target: target.into(), deed: Deed::Live(sql.into()) }
    }

    /// Other migrations.
    pub(super) fn files(target: impl Into<String>, folder: Folder) -> Site {
        Site { target: target.into(), deed: Deed::Files(folder) }
    }
}
