//! Files by patterns with `*`.

use crate::check::matches;
use crate::error::{Attempt, Error, ErrorKind, Result};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The files that `patterns` name: in their order, those of one pattern in the order of their names, none
/// twice. Names that begin with a dot are found only by patterns that do.
///
/// # Errors
/// A pattern finds nothing, or a folder cannot be read.
pub(super) fn expand(patterns: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let mut found = vec![PathBuf::new()];
        for component in pattern.components() {
            found = step(found, component)?;
        }
        found.retain(|path| path.is_file());
        if found.is_empty() {
            return Err(Error::usage(format!("no file is named `{}`", pattern.display())));
        }
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn step(from: Vec<PathBuf>, component: Component<'_>) -> Result<Vec<PathBuf>> {
    let name = component.as_os_str();
    let Some(pattern) = name.to_str().filter(|name| name.contains('*')) else {
        return Ok(from.into_iter().map(|path| path.join(name)).collect());
    };
    let mut next = Vec::new();
    for folder in from.iter().filter(|path| path.as_os_str().is_empty() || path.is_dir()) {
        let mut names = names(folder)?;
        names.retain(|name| matches(pattern, name) && name.starts_with('.') <= pattern.starts_with('.'));
        next.extend(names.into_iter().map(|name| folder.join(name)));
    }
    Ok(next)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let what = || format!("failed to list the folder `{}`", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).attempt(ErrorKind::Usage, what)? {
        let entry = entry.attempt(ErrorKind::Usage, what)?;
        // A name that is no text is matched by no pattern.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["base/*.sql"], &["base/a.sql", "base/b.sql"])]
    #[case(&["*/a.sql"], &["base/a.sql", "more/a.sql"])]
    #[case(&["base/b.sql", "base/*.sql"], &["base/b.sql", "base/a.sql"])]
    #[case(&["base/.*.sql"], &["base/.hidden.sql"])]
    fn patterns_find_files_in_order(#[case] patterns: &[&str], #[case] expected: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for file in ["base/b.sql", "base/a.sql", "base/.hidden.sql", "base/notes.txt", "more/a.sql"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let patterns: Vec<PathBuf> = patterns.iter().map(|pattern| dir.path().join(pattern)).collect();
        let expected: Vec<PathBuf> = expected.iter().map(|file| dir.path().join(file)).collect();
        assert_eq!(expand(&patterns).unwrap(), expected);
    }

    #[test]
    fn a_pattern_that_finds_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let pattern = dir.path().join("*.sql");
        assert_eq!(
            expand(std::slice::from_ref(&pattern)).unwrap_err().to_string(),
            format!("no file is named `{}`", pattern.display())
        );
    }
}
