//! Removing what killed keepers left behind. Only under the lock of the home that looks.

use super::base::{BASE, Entry, Home, PARKED, enter};
use super::elect::{PARKED_AGE_MAX, entries, modified};
use super::launch::is_base_name;
use crate::process::effective_uid;
use crate::wait::{self, Look};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A base is younger than this while its keeper may still be on its way to the door.
const YOUNG: Duration = Duration::from_secs(2);
/// Bases of other homes are looked at only when nobody of theirs came back for so long.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Of all homes together so many parked data directories are kept.
const PARKED_MAX: usize = 4;

/// Reclaims the bases of `home`, the abandoned ones of other homes, and parked data past its age or number.
pub(super) fn reclaim(home: &Home, candidates: &[PathBuf]) {
    for base in entries(candidates, BASE) {
        let ours =
            base.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&home.base_prefix()));
        let age_min = if ours { YOUNG } else { ABANDONED };
        let settled = age(&base) > age_min || (ours && !has_keeper(&base));
        if settled && is_our_own(&base) && matches!(enter(&base), Entry::NoKeeper) && !has_keeper(&base) {
            remove(&base);
        }
    }
    let mut parked: Vec<PathBuf> =
        entries(candidates, PARKED).into_iter().filter(|base| is_our_own(base)).collect();
    parked.sort_by_key(|base| std::cmp::Reverse(modified(base)));
    for (place, base) in parked.iter().enumerate() {
        if place >= PARKED_MAX || age(base) > PARKED_AGE_MAX {
            let _ = fs::remove_dir_all(base);
        }
    }
}

fn age(path: &Path) -> Duration {
    modified(path).elapsed().unwrap_or_default()
}

/// Root looks after the server's user too; others have only their own.
fn is_our_own(path: &Path) -> bool {
    effective_uid() == 0 || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() == effective_uid())
}

/// Whether a keeper of this base lives: it names the base as an argument from its first moment on. Where
/// processes cannot be listed, only the door and the age tell.
pub(super) fn has_keeper(base: &Path) -> bool {
    let wanted = format!("pgkeeper\0{}\0", base.display());
    processes().any(|(_, command_line)| command_line.contains(&wanted))
}

/// All processes that can be seen, with their command lines.
fn processes() -> impl Iterator<Item = (i32, String)> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let command_line = fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&command_line).into_owned()))
    })
}

/// Kills what still runs on the base, gives its shared memory back and removes it.
fn remove(base: &Path) {
    let Some(name) = base.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    if !is_base_name(&name) {
        return;
    }
    let data = format!("{}/data", base.display());
    let title = format!("postgres: {name}: ");
    let postmaster_file = fs::read_to_string(base.join("data/postmaster.pid")).unwrap_or_default();
    let ended = wait::until("the processes of a dead server to end", Duration::from_secs(10), || {
        let mut left = 0;
        for (pid, command_line) in processes() {
            if command_line.contains(&data) || command_line.starts_with(&title) {
                left += 1;
                // Gone already, or not ours to kill: the next look tells.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        Ok(if left == 0 { Look::Ready(()) } else { Look::NotYet(format!("{left} left")) })
    });
    if ended.is_err() {
        return;
    }
    let segment = postmaster_file
        .lines()
        .nth(6)
        .and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<i32>().ok());
    if let Some(segment) = segment {
        // SAFETY: removing a segment by id takes no pointer. It is the id that this server wrote down.
        unsafe { nix::libc::shmctl(segment, nix::libc::IPC_RMID, std::ptr::null_mut()) };
    }
    let _ = fs::remove_dir_all(base);
}
