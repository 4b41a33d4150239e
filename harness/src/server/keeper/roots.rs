//! Choosing the file system for a data directory: memory where it has room, else a disk.

use crate::env;
use crate::error::{Error, Result};
use crate::notice;
use crate::postgres::Cache;
use crate::process::User;
use rustix::fs::{Access, access, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A fresh data directory has 40 MiB; a template and a few clones want the rest.
const ROOM_MIB_MIN: u64 = 256;
/// What must stay available to everything else when a data directory lies in memory.
const MEMORY_MIB_MIN: u64 = 768;
/// The length of a socket's path is bounded by the kernel: 104 bytes on macOS, 108 on Linux, with the end.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// What follows the root in a socket's path: `/pgh-0123456789-01234567/.s.PGSQL.65535`.
const SOCKET_TAIL_BYTES: usize = 40;

/// Where base directories may lie, best first.
///
/// # Errors
/// Folders are named of which none is there.
pub(super) fn candidates(cache: &Cache) -> Result<Vec<PathBuf>> {
    if let Some(roots) = env::DATA_ROOTS.text() {
        return named(&roots).map(|(there, _)| there);
    }
    let mut roots = Vec::new();
    if cfg!(target_os = "linux") {
        roots.push(PathBuf::from("/dev/shm"));
    }
    roots.push(cache.server_dir("run")?);
    // Not TMPDIR: on macOS its path is too long for a socket.
    roots.push(PathBuf::from("/tmp"));
    Ok(roots)
}

/// The folders of a list that are there, and those that are not.
///
/// # Errors
/// None of them is there.
fn named(roots: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let roots = roots.split(':').filter(|root| !root.is_empty()).map(plain);
    let (there, missing): (Vec<PathBuf>, Vec<PathBuf>) = roots.partition(|root| root.is_dir());
    match missing.first().filter(|_| there.is_empty()) {
        None => Ok((there, missing)),
        Some(first) => {
            let name = env::DATA_ROOTS.name;
            Err(Error::usage(no_folder(first))
                .with_help(format!("create it, or take it out of {name}: {}", env::DATA_ROOTS.meaning)))
        }
    }
}

fn no_folder(missing: &Path) -> String {
    format!("`{}`, which {} names, is no folder", missing.display(), env::DATA_ROOTS.name)
}

/// The path that means the same to every process, in whatever folder it works.
fn plain(root: &str) -> PathBuf {
    let root = Path::new(root);
    root.canonicalize().or_else(|_| std::path::absolute(root)).unwrap_or_else(|_| root.to_owned())
}

/// The first candidate with room. Of one that is named and not there it is said: passed over in silence, a slip of
/// the pen would cost the memory that was meant.
///
/// # Errors
/// None has; the error says of each why.
pub(in crate::server) fn choose(cache: &Cache) -> Result<PathBuf> {
    if let Some(roots) = env::DATA_ROOTS.text() {
        let (_, missing) = named(&roots)?;
        missing.iter().for_each(|root| notice::warn(&format!("{}: passed over", no_folder(root))));
    }
    let mut refused = Vec::new();
    for root in candidates(cache)? {
        match objection(&root) {
            None => return Ok(root),
            Some(reason) => refused.push(format!("`{}`: {reason}", root.display())),
        }
    }
    Err(Error::environment(format!("found no place for a data directory: {}", refused.join("; ")))
        .with_help(format!("free some room, or name folders with room in {}", env::DATA_ROOTS.name)))
}

/// Where a server's files would lie now.
#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    /// Whether files there lie in memory.
    pub(crate) is_memory: bool,
    pub(crate) free_mib: u64,
}

#[cfg(feature = "cli")]
impl Root {
    /// The first candidate with room.
    ///
    /// # Errors
    /// None has; the error says of each why.
    pub(crate) fn chosen(cache: &Cache) -> Result<Root> {
        let path = choose(cache)?;
        Ok(Root { is_memory: is_memory(&path), free_mib: free_mib(&path).unwrap_or_default(), path })
    }
}

/// Why a data directory cannot lie below `root`.
pub(super) fn objection(root: &Path) -> Option<String> {
    let length = root.as_os_str().len() + SOCKET_TAIL_BYTES;
    if length > SOCKET_PATH_BYTES_MAX {
        return Some(format!(
            "its path is too long for a unix socket ({length} bytes with the socket's name, {SOCKET_PATH_BYTES_MAX} allowed)"
        ));
    }
    if root.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
        return Some("its path has a line break or another control character".into());
    }
    if !root.is_dir() {
        return Some("no such folder".into());
    }
    if let Some(reason) = not_writable(root) {
        return Some(reason);
    }
    let free_mib = match free_mib(root) {
        Some(free_mib) => free_mib,
        None => return Some("its free space cannot be read".into()),
    };
    if free_mib < ROOM_MIB_MIN {
        return Some(format!("{free_mib} MiB free, {ROOM_MIB_MIN} needed"));
    }
    if is_memory(root) {
        let available_mib = memory_available_mib().unwrap_or(u64::MAX);
        if available_mib < MEMORY_MIB_MIN {
            return Some(format!("{available_mib} MiB of memory available, {MEMORY_MIB_MIN} needed"));
        }
    }
    None
}

/// Whether the user that the server runs as cannot create a folder in `root`.
fn not_writable(root: &Path) -> Option<String> {
    let may_write = match User::for_server() {
        None => access(root, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        Some(user) => {
            // As root we may write everywhere: what counts is the other user.
            let metadata = std::fs::metadata(root).ok()?;
            let wanted = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
                (true, _) => 0o300,
                (false, true) => 0o030,
                (false, false) => 0o003,
            };
            metadata.mode() & wanted == wanted
        }
    };
    let user = User::for_server().map(|user| format!(" for `{}`", user.name)).unwrap_or_default();
    (!may_write).then(|| format!("not writable{user}"))
}

/// Free space below `path`, in MiB.
pub(in crate::server) fn free_mib(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

/// Whether files below `path` lie in memory.
pub(in crate::server) fn is_memory(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        // The kernel's name for it is TMPFS_MAGIC.
        rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == 0x0102_1994)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Memory that can be taken without harm, in MiB, where the system tells.
pub(in crate::server) fn memory_available_mib() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_its_length() {
        let root = PathBuf::from(format!("/{}", "a".repeat(80)));
        let reason = objection(&root).unwrap();
        assert_eq!(
            reason,
            "its path is too long for a unix socket (121 bytes with the socket's name, 103 allowed)"
        );
    }

    #[test]
    fn a_folder_that_the_server_cannot_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let is_refused = |mode| {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            objection(dir.path()).is_some_and(|reason| reason.starts_with("not writable"))
        };
        assert!(is_refused(0o500));
        assert!(!is_refused(0o777));
    }

    #[test]
    fn one_of_the_folders_that_are_named_must_be_there() {
        let here = tempfile::tempdir().unwrap();
        let error = named(":/nowhere:").unwrap_err();
        assert_eq!(error.to_string(), "`/nowhere`, which PGHARNESS_DATA_ROOTS names, is no folder");
        assert!(
            error
                .help()
                .is_some_and(|help| help.starts_with("create it, or take it out of PGHARNESS_DATA_ROOTS"))
        );
        let (there, missing) = named(&format!("/nowhere::{}", here.path().display())).unwrap();
        assert_eq!(there, [here.path().canonicalize().unwrap()]);
        assert_eq!(missing, [PathBuf::from("/nowhere")]);
    }

    #[test]
    fn a_path_with_a_line_break_is_refused() {
        let dir = tempfile::Builder::new().prefix("a\nb").tempdir().unwrap();
        let reason = objection(dir.path()).unwrap();
        assert_eq!(reason, "its path has a line break or another control character");
    }

    #[test]
    fn a_root_is_named_in_full() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(plain("src"), here.join("src"));
        assert_eq!(plain("not/yet"), here.join("not/yet"));
    }

    #[test]
    fn a_missing_folder_is_refused() {
        assert_eq!(objection(Path::new("/nowhere")).unwrap(), "no such folder");
    }
}
