//! Removing what killed keepers left behind. Only under the lock of the home that looks.

use super::base::{BASE, Entry, Home, PARKED, Published, enter, is_our_own};
use super::elect::{PARKED_AGE_MAX, entries, modified, newest_first};
use super::launch::is_base_name;
use crate::process::{FileLock, Signal, send};
use crate::server::{KEPT, KEPT_MARK};
use crate::wait::{self, Look};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A base is younger than this while its keeper may still be on its way to the door.
const YOUNG: Duration = Duration::from_secs(2);
/// Bases of other homes are looked at only when nobody of theirs came back for so long.
const ABANDONED: Duration = Duration::from_secs(3600);
/// A server that should end is given so long before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// The state of a home is forgotten when nobody took part in its server for so long.
const HOME_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Of all homes together so many parked data directories are kept.
const PARKED_MAX: usize = 4;
/// And so many in which a database was kept for somebody to look at: runs that keep none do not push them out.
const PARKED_WITH_KEPT_MAX: usize = 8;

/// Reclaims the bases of `home`, those of other homes that nobody keeps any more, and parked data past its age
/// or number.
pub(super) fn reclaim(home: &Home, candidates: &[PathBuf]) {
    for base in entries(candidates, BASE) {
        let ours =
            base.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&home.base_prefix()));
        // A door that nobody reads is never read again, whosever it is. Without a door it may be on its way.
        let had_keeper = base.join("door").exists();
        let age_min = if ours || had_keeper { YOUNG } else { ABANDONED };
        let settled = age(&base) > age_min || (ours && !has_keeper(&base));
        if settled && lies_with_us(&base) && matches!(enter(&base), Entry::NoKeeper) && !has_keeper(&base) {
            remove(&base);
        }
    }
    let parked = entries(candidates, PARKED).into_iter().filter(|base| lies_with_us(base)).collect();
    let parked = newest_first(parked);
    let (with_kept, others): (Vec<_>, Vec<_>) =
        parked.iter().partition(|base| base.join("data").join(KEPT_MARK).exists());
    for (group, max) in [(with_kept, PARKED_WITH_KEPT_MAX), (others, PARKED_MAX)] {
        for (place, base) in group.into_iter().enumerate() {
            if place >= max || age(base) > PARKED_AGE_MAX || is_given_up(base) {
                remove_parked(base);
            }
        }
    }
}

/// Removes a base that its starter gave up, unless its keeper lives to do that.
pub(super) fn abandon(base: &Path) {
    if matches!(enter(base), Entry::NoKeeper) && !has_keeper(base) {
        remove(base);
    }
}

/// Removes parked data that nobody shall take any more; its own home may be about to take it, so it loses its
/// name first.
pub(super) fn remove_parked(base: &Path) {
    let given_up = base.with_extension(GIVEN_UP);
    // Somebody else may have been here before us.
    if is_given_up(base) || fs::rename(base, &given_up).is_ok() {
        let _ = fs::remove_dir_all(given_up);
    }
}

/// Whether somebody is removing this parked data, or died over it.
pub(super) fn is_given_up(base: &Path) -> bool {
    base.extension().is_some_and(|ending| ending == GIVEN_UP)
}

const GIVEN_UP: &str = "gone";

/// Removes the state of homes that nobody came back to: there is one for each workspace, version and realm, and
/// what it remembers is soon learnt again.
pub(super) fn forget_homes(home: &Home) {
    let siblings = home.state_dir.parent().and_then(|shelf| fs::read_dir(shelf).ok());
    for dir in siblings.into_iter().flatten().flatten().map(|entry| entry.path()) {
        // Every participant puts its lease into `owners`, and every starter writes the state.
        let last_used =
            [&dir, &dir.join("owners"), &dir.join("state")].into_iter().map(|path| modified(path)).max();
        // Where databases are kept, what starts their server again must not go before its data.
        let has_kept = fs::read_dir(dir.join(KEPT)).is_ok_and(|mut kept| kept.next().is_some());
        let age_max = if has_kept { PARKED_AGE_MAX } else { HOME_AGE_MAX };
        let is_old = last_used.is_some_and(|time| time.elapsed().is_ok_and(|age| age > age_max));
        if dir == home.state_dir || !is_old {
            continue;
        }
        let Ok(Some(_nobody_starts)) = FileLock::try_take(&dir.join("lock")) else { continue };
        let has_server = Published::read_in(&dir).is_some_and(|published| published.base.exists());
        if !has_server {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

fn age(path: &Path) -> Duration {
    modified(path).elapsed().unwrap_or_default()
}

/// Everybody looks after their own, root after the server's user too. What a stranger laid out is not believed:
/// neither which processes are the server's, nor which shared memory.
fn lies_with_us(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && is_our_own(&metadata))
}

/// Whether a keeper of this base lives: it names the base as an argument from its first moment on. Where
/// processes cannot be listed, only the door and the age tell.
fn has_keeper(base: &Path) -> bool {
    let wanted = format!("pgkeeper\0{}\0", base.display());
    processes().any(|(_, command_line)| command_line.contains(&wanted))
}

/// Whether a keeper lives whose base has this random part.
pub(in crate::server) fn has_keeper_of(random: &str) -> bool {
    let wanted = format!("-{random}\0");
    processes().any(|(_, command_line)| {
        command_line.split_once("pgkeeper\0").is_some_and(|(_, arguments)| arguments.contains(&wanted))
    })
}

/// Whether a keeper of this base lives that parks the data for `home`: those of private servers do not.
pub(super) fn has_parking_keeper(home: &Home, base: &Path) -> bool {
    let wanted = format!("pgkeeper\0{}\0", base.display());
    let parks = format!("/{}\0", home.parked_prefix());
    processes().any(|(_, command_line)| command_line.contains(&wanted) && command_line.contains(&parks))
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
    let mut segment = None;
    let started = Instant::now();
    let ended = wait::until("the processes of a dead server to end", Duration::from_secs(10), || {
        segment = segment_of(base).or(segment);
        // SIGQUIT lets a postmaster give its shared memory back; what has none left, or does not react, is killed.
        let signal = if started.elapsed() < PATIENCE { Signal::QUIT } else { Signal::KILL };
        let mut left = 0;
        for (pid, command_line) in processes() {
            if command_line.contains(&data) || command_line.starts_with(&title) {
                left += 1;
                // Gone already, or not ours to kill: the next look tells.
                let _ = send(pid, signal);
            }
        }
        Ok(if left == 0 { Look::Ready(()) } else { Look::NotYet(format!("{left} left")) })
    });
    if ended.is_err() {
        return;
    }
    // A postmaster that ended in order has removed its file, and its segment.
    if let Some(segment) = segment_of(base).or(segment) {
        segment.give_back();
    }
    let _ = fs::remove_dir_all(base);
}

/// The shared memory segment that a server noted, and the postmaster that made it.
#[derive(Clone, Copy)]
struct Segment {
    id: i32,
    maker: i32,
}

fn segment_of(base: &Path) -> Option<Segment> {
    let file = fs::read_to_string(base.join("data/postmaster.pid")).ok()?;
    let maker = file.lines().next()?.trim().parse().ok()?;
    let id = file.lines().nth(6)?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Segment { id, maker })
}

impl Segment {
    /// Removes it, unless it is somebody else's by now: after a restart of the machine ids begin anew, and a base
    /// on a disk is still there.
    fn give_back(self) {
        use libc::{IPC_RMID, IPC_STAT, shmctl, shmid_ds};
        // SAFETY: a structure of plain numbers, which the kernel fills.
        let mut facts: shmid_ds = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to that structure, for the duration of the call.
        let is_there = unsafe { shmctl(self.id, IPC_STAT, &raw mut facts) } == 0;
        // Whether somebody is attached is no question: a process on its way out, which is no longer listed, may be.
        if is_there && facts.shm_cpid == self.maker {
            // SAFETY: removing a segment by id takes no pointer.
            unsafe { shmctl(self.id, IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::postgres::Cache;

    /// A base with a door and a reader behind it.
    fn lay_out(root: &Path, home: &Home) -> (PathBuf, fs::File) {
        use rustix::fs::{CWD, Mode, mkfifoat};
        use std::os::unix::fs::OpenOptionsExt;
        let base = root.join(format!("{}01234567", home.base_prefix()));
        fs::create_dir_all(base.join("data")).unwrap();
        fs::write(base.join("open"), "").unwrap();
        mkfifoat(CWD, base.join("door"), Mode::RWXU).unwrap();
        let mut options = fs::OpenOptions::new();
        let reader = options.read(true).custom_flags(libc::O_NONBLOCK).open(base.join("door"));
        (base, reader.unwrap())
    }

    #[test]
    fn runs_that_keep_nothing_do_not_push_out_what_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let home = Home::open(&cache, &Digest::of("home"), dir.path()).unwrap();
        let park = |number: usize| {
            let base = dir.path().join(format!("{PARKED}other-{number}"));
            fs::create_dir_all(base.join("data")).unwrap();
            if number == 0 {
                fs::write(base.join("data").join(KEPT_MARK), "").unwrap();
            }
            let time = std::time::SystemTime::now() - Duration::from_secs(100 - number as u64);
            fs::File::open(&base).unwrap().set_modified(time).unwrap();
            base
        };
        let parked: Vec<_> = (0..=PARKED_MAX + 1).map(park).collect();
        reclaim(&home, &[dir.path().to_owned()]);
        let left: Vec<bool> = parked.iter().map(|base| base.exists()).collect();
        assert_eq!(left, [true, false, true, true, true, true]);
    }

    #[test]
    fn what_a_stranger_laid_out_is_neither_entered_nor_removed() {
        if crate::process::effective_uid() != 0 {
            assert!(!crate::env::is_required("root"), "only root can give files away");
            crate::notice::skipped("root", "since only root can give files away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let home = Home::open(&cache, &Digest::of("home"), dir.path()).unwrap();
        let (base, reader) = lay_out(dir.path(), &home);
        let give = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), None).unwrap();
        assert!(matches!(enter(&base), Entry::In(_)));
        give(&base.join("door"), 12345);
        assert!(matches!(enter(&base), Entry::NoKeeper));
        drop(reader);
        give(&base, 12345);
        reclaim(&home, &[dir.path().to_owned()]);
        assert!(base.exists());
        give(&base, 0);
        reclaim(&home, &[dir.path().to_owned()]);
        assert!(!base.exists());
    }

    #[test]
    fn a_segment_that_somebody_else_made_since_is_left_alone() {
        use libc::{IPC_CREAT, IPC_PRIVATE, IPC_RMID, IPC_STAT, shmctl, shmget, shmid_ds};
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let home = Home::open(&cache, &Digest::of("home"), dir.path()).unwrap();
        // SAFETY: plain numbers.
        let id = unsafe { shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600) };
        let is_there = || {
            // SAFETY: a structure of plain numbers.
            let mut facts: shmid_ds = unsafe { std::mem::zeroed() };
            // SAFETY: the pointer is to that structure, for the duration of the call.
            unsafe { shmctl(id, IPC_STAT, &raw mut facts) == 0 }
        };
        let remove_with = |maker: u32| {
            let (base, _) = lay_out(dir.path(), &home);
            fs::write(base.join("data/postmaster.pid"), format!("{maker}\n\n\n\n\n\n 5432 {id}\n")).unwrap();
            remove(&base);
            assert!(!base.exists());
            is_there()
        };
        let (after_anothers, after_its_own) = (remove_with(1), remove_with(std::process::id()));
        // SAFETY: plain numbers; it is gone already unless the test fails.
        unsafe { shmctl(id, IPC_RMID, std::ptr::null_mut()) };
        assert!(after_anothers && !after_its_own);
    }

    #[test]
    fn only_homes_that_nobody_came_back_to_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let home = |name: &str| Home::open(&cache, &Digest::of(name), dir.path()).unwrap();
        let (ours, old, recent, serving) = (home("ours"), home("old"), home("recent"), home("serving"));
        let kept = home("kept");
        fs::create_dir(kept.state_dir.join(KEPT)).unwrap();
        fs::write(kept.state_dir.join(KEPT).join("a database"), "").unwrap();
        fs::write(serving.state_dir.join("state"), format!("{}\n5432\n", dir.path().display())).unwrap();
        let past = std::time::SystemTime::now() - HOME_AGE_MAX * 2;
        for home in [&ours, &old, &serving, &kept] {
            fs::write(home.state_dir.join("lock"), "").unwrap();
            for path in [home.state_dir.join("state"), home.state_dir.clone()] {
                let _ = fs::File::open(path).and_then(|file| file.set_modified(past));
            }
        }
        forget_homes(&ours);
        let left = [&ours, &old, &recent, &serving, &kept].map(|home| home.state_dir.exists());
        assert_eq!(left, [true, false, true, true, true]);
    }
}
