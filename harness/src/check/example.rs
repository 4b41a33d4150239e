//! The examples of a check: its tests, and what `explain` prints.

/// Whether an example breaks the property or satisfies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The check finds fault with it.
    Bad,
    /// The check says nothing of it.
    Good,
}

/// A file of `fixtures/checks/<id>/`.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The name of the file: `bad.sql`, `good_partitioned.sql`.
    pub file: &'static str,
    /// What is in it.
    pub sql: &'static str,
}

impl Example {
    /// Which kind it is, by its name; a name that says neither counts as bad, so that no check's test passes
    /// because of it.
    pub fn kind(&self) -> Kind {
        if self.file.starts_with("good") { Kind::Good } else { Kind::Bad }
    }
}

/// The named files of `fixtures/checks/<id>/`, compiled in.
///
/// `harness/fixtures/checks` is a link to the repository's folder, which packaging follows: the published crate
/// holds the files themselves.
#[macro_export]
#[doc(hidden)]
macro_rules! examples {
    ($id:literal: $($file:literal),+ $(,)?) => {
        &[$($crate::check::Example {
            file: $file,
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/checks/", $id, "/", $file)),
        }),+]
    };
}
