//! Installations in the cache: those that were fetched, and copies of those that the server's user cannot
//! reach. An entry appears by a rename, so that one that is there is complete.

use super::{Cache, Request, Version};
use crate::digest::Digest;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{FileLock, User, home_dir};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// In each fetched entry: a line with version and directory of programs for each installation in it.
const MANIFEST: &str = "pgharness-installation";
/// Starts the names of directories that are still being filled.
const UNFINISHED: &str = ".new-";
/// Starts the names of copies, which serve only those who ask for their original.
const COPY: &str = "copy-";
/// What is copied for the server's user is an installation, not somebody's home.
const COPY_BYTES_MAX: u64 = 2 << 30;

/// An installation that was fetched earlier.
#[derive(Debug)]
pub(super) struct Entry {
    /// The directory of its programs.
    pub(super) bin: PathBuf,
    /// Its version.
    pub(super) version: Version,
    /// The name of its entry, which starts with that of its source.
    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only what downloads asks"))]
    pub(super) name: String,
}

/// The right to change the store; others wait for it.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    _lock: FileLock,
}

/// Where the installations of a request's cache lie; in the system's cache where the server's user cannot
/// reach that one.
pub(super) fn dir(request: &Request) -> Result<PathBuf> {
    let dir = request.cache().shared_dir("installations")?;
    let Some(user) = User::for_server().filter(|user| !can_enter(user, &dir)) else { return Ok(dir) };
    let system = Cache::system()?.shared_dir("installations")?;
    if can_enter(&user, &system) {
        return Ok(system);
    }
    Err(Error::environment(format!(
        "neither `{}` nor `{}` can be entered by `{}`, whom the server runs as",
        dir.display(),
        system.display(),
        user.name
    )))
}

/// Whether each directory on the way to `dir` lets `user` through, by its mode.
fn can_enter(user: &User, dir: &Path) -> bool {
    dir.ancestors().all(|dir| {
        dir.metadata().is_ok_and(|dir| {
            let bit = match () {
                () if dir.uid() == user.uid => 0o100,
                () if dir.gid() == user.gid => 0o010,
                () => 0o001,
            };
            dir.mode() & bit != 0
        })
    })
}

/// The installations that were fetched earlier, the newest first.
pub(super) fn fetched(request: &Request) -> Result<Vec<Entry>> {
    let dir = dir(request)?;
    let entries = dir
        .read_dir()
        .attempt(ErrorKind::Environment, || format!("failed to list the cache `{}`", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if [UNFINISHED, COPY].iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let Ok(manifest) = fs::read_to_string(entry.path().join(MANIFEST)) else { continue };
        found.extend(manifest.lines().filter_map(|line| {
            let (version, bin) = line.split_once(' ')?;
            Some(Entry { bin: entry.path().join(bin), version: Version::read(version)?, name: name.clone() })
        }));
    }
    found.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.version.major, entry.version.minor);
        key(b).cmp(&key(a)).then_with(|| a.bin.cmp(&b.bin))
    });
    Ok(found)
}

/// Copies the installation whose programs lie in `bin` to where the server's user can reach it, once; gives
/// the directory of the copied programs.
pub(super) fn copy(bin: &Path, identity: Digest, version: &Version, request: &Request) -> Result<PathBuf> {
    let unreachable = |why: &str| {
        let user = User::for_server().map_or_else(|| "nobody".into(), |user| user.name);
        Error::environment(format!("cannot be reached by `{user}`, whom the server runs as, and {why}"))
            .with_help(format!("move it, or give `{user}` access to `{}`", bin.display()))
    };
    let Some(root) = bin.parent().filter(|_| bin.ends_with("bin")) else {
        return Err(unreachable("its programs lie in no `bin` that could be copied with its surroundings"));
    };
    if !root.join("share").is_dir() || home_dir().is_some_and(|home| home == root) {
        return Err(unreachable(&format!(
            "`{}` is not a directory of Postgres alone, to copy",
            root.display()
        )));
    }
    let name = format!("{COPY}{version}-{}", identity.short(16));
    let copied = dir(request)?.join(&name);
    if !copied.is_dir() {
        let store = Store::lock(request)?;
        // Somebody else may have copied it while we waited for the lock.
        if !copied.is_dir() {
            let scratch = store.scratch()?;
            let tree = scratch.path().join("tree");
            let mut room = COPY_BYTES_MAX;
            copy_tree(root, &tree, (root, &copied), &mut room)?;
            open_tree(&tree)?;
            store.publish(&tree, &name)?;
        }
    }
    Ok(copied.join("bin"))
}

/// Copies a tree; links that point into `moved.0` will point into `moved.1`.
fn copy_tree(from: &Path, to: &Path, moved: (&Path, &Path), room: &mut u64) -> Result<()> {
    let failed = || format!("failed to copy `{}`", from.display());
    fs::create_dir(to).attempt(ErrorKind::Environment, failed)?;
    for entry in from.read_dir().attempt(ErrorKind::Environment, failed)? {
        let entry = entry.attempt(ErrorKind::Environment, failed)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().attempt(ErrorKind::Environment, failed)?;
        if kind.is_dir() {
            copy_tree(&source, &target, moved, room)?;
        } else if kind.is_symlink() {
            let mut link = source.read_link().attempt(ErrorKind::Environment, failed)?;
            if let Ok(inside) = link.strip_prefix(moved.0) {
                link = moved.1.join(inside);
            }
            std::os::unix::fs::symlink(link, target).attempt(ErrorKind::Environment, failed)?;
        } else if kind.is_file() {
            let bytes = fs::copy(&source, &target).attempt(ErrorKind::Environment, failed)?;
            *room = room.checked_sub(bytes).ok_or_else(|| {
                Error::environment(format!(
                    "gave up copying `{}`: more than {} MiB",
                    moved.0.display(),
                    COPY_BYTES_MAX >> 20
                ))
            })?;
        }
    }
    Ok(())
}

/// Lets everybody read a tree, and run what its owner may run.
pub(super) fn open_tree(path: &Path) -> Result<()> {
    let failed = || format!("failed to open `{}` to the server's user", path.display());
    let file = path.symlink_metadata().attempt(ErrorKind::Environment, failed)?;
    if file.is_symlink() {
        return Ok(());
    }
    let mode = file.permissions().mode();
    let runs = if file.is_dir() || mode & 0o100 != 0 { 0o111 } else { 0 };
    let open = (mode | 0o644 | runs) & 0o7755;
    if open != mode & 0o7777 {
        fs::set_permissions(path, fs::Permissions::from_mode(open))
            .attempt(ErrorKind::Environment, failed)?;
    }
    if file.is_dir() {
        for entry in path.read_dir().attempt(ErrorKind::Environment, failed)? {
            open_tree(&entry.attempt(ErrorKind::Environment, failed)?.path())?;
        }
    }
    Ok(())
}

impl Store {
    /// Waits for the right to change the store.
    pub(super) fn lock(request: &Request) -> Result<Store> {
        let dir = dir(request)?;
        let lock = FileLock::wait(&dir.join("lock"))?;
        let store = Store { dir, _lock: lock };
        // We hold the lock: whoever left these has died.
        for entry in store.dir.read_dir().into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(store)
    }

    /// Its directory.
    #[cfg(feature = "download")]
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory to prepare an entry in, on the same file system and open to the server's user.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir> {
        let scratch = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.dir)
            .attempt(ErrorKind::Environment, || format!("failed to write to `{}`", self.dir.display()))?;
        open_tree(scratch.path())?;
        Ok(scratch)
    }

    /// Says which installations lie in a prepared tree, by their directories of programs within it.
    #[cfg(feature = "download")]
    pub(super) fn describe(tree: &Path, installations: &[(Version, PathBuf)]) -> Result<()> {
        let lines: String =
            installations.iter().map(|(version, bin)| format!("{version} {}\n", bin.display())).collect();
        let path = tree.join(MANIFEST);
        fs::write(&path, lines)
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
    }

    /// Gives a prepared tree its name, from which moment on it is there for everybody. What had the name
    /// before would not do, or nobody would have fetched it again.
    pub(super) fn publish(&self, tree: &Path, name: &str) -> Result<PathBuf> {
        let target = self.dir.join(name);
        let failed = || format!("failed to put an installation at `{}`", target.display());
        if target.exists() {
            // Out of the way by a rename, since a removal takes its time.
            let old = self.scratch()?;
            fs::rename(&target, old.path().join("old")).attempt(ErrorKind::Environment, failed)?;
        }
        fs::rename(tree, &target).attempt(ErrorKind::Environment, failed)?;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_closed_directory_lets_its_owner_through_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let owner = dir.path().metadata().unwrap();
        let user = |uid, gid| User { name: "test".into(), uid, gid };
        let (me, other) = (user(owner.uid(), owner.gid()), user(owner.uid() + 1, owner.gid() + 1));
        let kin = user(owner.uid() + 1, owner.gid());
        let check = |mode: u32, expect: [bool; 3]| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!([&me, &kin, &other].map(|user| can_enter(user, &inner)), expect, "{mode:o}");
        };
        check(0o700, [true, false, false]);
        check(0o750, [true, true, false]);
        check(0o755, [true, true, true]);
    }

    #[test]
    fn an_opened_tree_can_be_read_and_what_ran_still_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (program, file) = (dir.path().join("program"), dir.path().join("file"));
        for (path, mode) in [(&program, 0o700), (&file, 0o600)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        // A link that leads nowhere is no obstacle.
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        open_tree(dir.path()).unwrap();
        assert_eq!([dir.path(), &program, &file].map(mode), [0o755, 0o755, 0o644]);
    }

    #[test]
    fn what_is_unfinished_copied_or_without_a_manifest_is_not_found() {
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let request = Request::plain(Cache::at(dir.path().join("cache")).unwrap());
        let store = Store::lock(&request).unwrap();
        for (name, manifest) in [
            ("npm-18.4", Some("18.4 bin\n")),
            ("wheel-0.6.0", Some("16.14 a b/bin\n18.4 c/bin\nbroken\n")),
            ("copy-16.4-abc", Some("16.4 bin\n")),
            (".new-abc", Some("16.4 bin\n")),
            ("npm-17.0", None),
        ] {
            fs::create_dir(store.dir.join(name)).unwrap();
            if let Some(manifest) = manifest {
                fs::write(store.dir.join(name).join(MANIFEST), manifest).unwrap();
            }
        }
        let found: Vec<_> = fetched(&request)
            .unwrap()
            .iter()
            .map(|entry| entry.bin.strip_prefix(&store.dir).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["npm-18.4/bin", "wheel-0.6.0/c/bin", "wheel-0.6.0/a b/bin"]);
    }

    #[test]
    fn an_entry_takes_the_place_of_one_that_would_not_do() {
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let request = Request::plain(Cache::at(dir.path().join("cache")).unwrap());
        let store = Store::lock(&request).unwrap();
        for content in ["old", "new"] {
            let scratch = store.scratch().unwrap();
            let tree = scratch.path().join("tree");
            fs::create_dir(&tree).unwrap();
            fs::write(tree.join("file"), content).unwrap();
            let entry = store.publish(&tree, "npm-16.4").unwrap();
            assert_eq!(fs::read_to_string(entry.join("file")).unwrap(), content);
        }
        let names: Vec<_> = store.dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "the entry and the lock, no more: {names:?}");
    }
}
