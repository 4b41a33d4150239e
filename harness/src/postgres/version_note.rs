//! What was learnt of a program's version: asking it starts a program, which costs more than all the rest of
//! attaching to a server that runs.

use super::installation::version_of;
use super::{Cache, Version};
use crate::digest::Hasher;
use crate::error::Result;
use crate::process::{User, effective_uid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The version of `program`, as `user` gets it told: asked once, then read from a note in the cache.
///
/// The key is the file's path, place, size and times, that of its last change of any kind included, and the user.
/// It is wrong if a library or a folder above the program was changed such that it no longer runs, or if the
/// program is a script around another one that was replaced: the server's start tells.
///
/// # Errors
/// The program does not run. That is asked anew each time.
pub(super) fn known_version_of(program: &Path, user: Option<User>, cache: &Cache) -> Result<Version> {
    let note = note_of(program, user.as_ref(), cache);
    let known = note.as_ref().and_then(|note| fs::read_to_string(note).ok());
    if let Some(version) = known.as_deref().and_then(|text| Version::read(text.trim_end())) {
        return Ok(version);
    }
    let version = version_of(program, user)?;
    if let Some(note) = note {
        // Written under another name first: two that write at once both write all. Without a note it is asked again.
        let new = note.with_extension(std::process::id().to_string());
        let _ = fs::write(&new, format!("{version}\n")).and_then(|()| fs::rename(&new, &note));
    }
    Ok(version)
}

fn note_of(program: &Path, user: Option<&User>, cache: &Cache) -> Option<PathBuf> {
    let file = fs::metadata(program).ok()?;
    let numbers = [
        file.dev().cast_signed(),
        file.ino().cast_signed(),
        file.size().cast_signed(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
        i64::from(user.map_or_else(effective_uid, |user| user.uid)),
    ];
    let mut hasher = Hasher::new("version note").field("path", program.as_os_str().as_encoded_bytes());
    for number in numbers {
        hasher.add("number", number.to_be_bytes());
    }
    Some(cache.private_dir("versions").ok()?.join(hasher.finish().short(16)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_asked_once_and_again_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let (program, asked) = (dir.path().join("postgres"), dir.path().join("asked"));
        let ask = |version: &str| {
            let script =
                format!("#!/bin/sh\necho >>'{}'\necho 'postgres (PostgreSQL) {version}'\n", asked.display());
            // Under the same name, with the same size.
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            let versions = [(); 2].map(|()| known_version_of(&program, None, &cache).unwrap().text);
            (versions, fs::read(&asked).unwrap().len())
        };
        assert_eq!(ask("16.4"), (["16.4".to_owned(), "16.4".to_owned()], 1));
        assert_eq!(ask("16.5"), (["16.5".to_owned(), "16.5".to_owned()], 2));
    }
}
