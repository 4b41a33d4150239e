//! Extensions: which an installation has, which one brings what is missing, and where they come from.

mod lack;
mod object;
mod package;

pub(crate) use lack::Lack;
pub(super) use object::Object;
pub(crate) use package::{Site, quoted, remedies, the_extensions};

use super::Installation;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

impl Installation {
    /// Whether `create extension` can find an extension of that name: whether its control file is there.
    ///
    /// # Errors
    /// As [`sharedir`](Installation::sharedir).
    pub fn has_extension(&self, name: &str) -> Result<bool> {
        // A name is a name, not a way out of the directory.
        let is_name = !name.is_empty() && !name.contains('/');
        Ok(is_name && self.scripts_dir()?.join(format!("{name}.control")).is_file())
    }

    /// Makes sure that the extensions of these names are there.
    ///
    /// # Errors
    /// One is not; the error tells how to get it.
    pub fn require_extensions<S: AsRef<str>>(&self, names: &[S]) -> Result<()> {
        let missing = self.lacks(names)?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::environment(format!(
            "Postgres {} in `{}` lacks {}",
            self.version(),
            self.bin().display(),
            the_extensions(&missing)
        ))
        .with_help(remedies(&missing, self.version().major, Site::Here)))
    }

    /// Those of `names` that are not there.
    ///
    /// # Errors
    /// As [`sharedir`](Installation::sharedir).
    pub(super) fn lacks<'a, S: AsRef<str>>(&self, names: &'a [S]) -> Result<Vec<&'a str>> {
        let mut missing = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            if !self.has_extension(name)? {
                missing.push(name);
            }
        }
        Ok(missing)
    }

    /// The extensions whose scripts create `object`, in order; none where they cannot be read.
    pub(crate) fn providers_of(&self, object: &Object) -> Vec<String> {
        let scripts = self.scripts_dir().ok().and_then(|dir| dir.read_dir().ok());
        let mut found = BTreeSet::new();
        for script in scripts.into_iter().flatten().flatten() {
            let name = script.file_name().to_string_lossy().into_owned();
            let Some((extension, _)) = name.strip_suffix(".sql").and_then(|name| name.split_once("--"))
            else {
                continue;
            };
            let creates = || fs::read_to_string(script.path()).is_ok_and(|text| object.is_created_by(&text));
            if !found.contains(extension) && creates() {
                found.insert(extension.to_owned());
            }
        }
        found.into_iter().collect()
    }

    fn scripts_dir(&self) -> Result<PathBuf> {
        Ok(self.sharedir()?.join("extension"))
    }
}
