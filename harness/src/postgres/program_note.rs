//! What was learnt of a program by running it: that costs more than all the rest of attaching to a server that runs.

use super::installation::version_of;
use super::{Cache, Version};
use crate::digest::Hasher;
use crate::error::{ErrorKind, Result};
use crate::process::{Program, User, effective_uid};
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
    let note = Note::on("version note", program, user.as_ref(), cache);
    if let Some(version) = note.text().as_deref().and_then(Version::read) {
        return Ok(version);
    }
    let version = version_of(program, user)?;
    note.write(&version.text);
    Ok(version)
}

/// What `pg_config --bindir` says, asked once as well. Debian's is a script that says where the newest version is: the
/// note is wrong when that is another one by now, which lies in a usual place and is found there.
///
/// # Errors
/// It does not run.
pub(super) fn known_bindir_of(pg_config: &Path, cache: &Cache) -> Result<PathBuf> {
    let note = Note::on("bindir note", pg_config, None, cache);
    if let Some(bindir) = note.text() {
        return Ok(PathBuf::from(bindir));
    }
    let told = Program::new(pg_config).arg("--bindir").ends_with_us().run()?;
    let bindir = told.check(ErrorKind::Environment, || "failed to run `pg_config`".into())?.text();
    note.write(&bindir);
    Ok(PathBuf::from(bindir))
}

/// The place of a note on a program as it is; `None`: there is no room for one.
struct Note(Option<PathBuf>);

impl Note {
    fn on(kind: &str, program: &Path, user: Option<&User>, cache: &Cache) -> Note {
        let place = || {
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
            let mut hasher = Hasher::new(kind).field("path", program.as_os_str().as_encoded_bytes());
            for number in numbers {
                hasher.add("number", number.to_be_bytes());
            }
            Some(cache.private_dir("versions").ok()?.join(hasher.finish().short(16)))
        };
        Note(place())
    }

    fn text(&self) -> Option<String> {
        let text = fs::read_to_string(self.0.as_ref()?).ok()?;
        Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
    }

    fn write(&self, text: &str) {
        let Some(note) = &self.0 else { return };
        // Written under another name first: two that write at once both write all. Without a note it is asked again.
        let new = note.with_extension(std::process::id().to_string());
        let _ = fs::write(&new, format!("{text}\n")).and_then(|()| fs::rename(&new, note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Runs a script in the place of a program, twice for each of what it says: what was understood, and how often it
    /// was asked so far.
    fn said_twice<T>(says: [&str; 2], ask: impl Fn(&Path, &Cache) -> T) -> [([T; 2], usize); 2] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let (program, asked) = (dir.path().join("postgres"), dir.path().join("asked"));
        says.map(|line| {
            // Under the same name, with the same size.
            fs::write(&program, format!("#!/bin/sh\necho >>'{}'\necho '{line}'\n", asked.display())).unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            ([(); 2].map(|()| ask(&program, &cache)), fs::read(&asked).unwrap().len())
        })
    }

    #[test]
    fn a_program_is_asked_once_and_again_when_it_changed() {
        let says = ["postgres (PostgreSQL) 16.4", "postgres (PostgreSQL) 16.5"];
        let said = said_twice(says, |program, cache| known_version_of(program, None, cache).unwrap().text);
        assert_eq!(said, [(["16.4".into(), "16.4".into()], 1), (["16.5".into(), "16.5".into()], 2)]);
    }

    #[test]
    fn so_is_pg_config() {
        let said =
            said_twice(["/a/bin", "/b/bin"], |program, cache| known_bindir_of(program, cache).unwrap());
        assert_eq!(said, [(["/a/bin".into(), "/a/bin".into()], 1), (["/b/bin".into(), "/b/bin".into()], 2)]);
    }
}
