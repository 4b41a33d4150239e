//! Electing the one process that starts the server; everybody else enters.

use super::base::{Entry, Home, Published, enter, generation};
use super::launch::{Attached, Launch, Park, Source, ask_to_park};
use super::origin::Origin;
use super::{reclaim, roots};
use crate::env;
use crate::error::Result;
use crate::postgres::{Cache, DataDir, Installation, Settings};
use crate::process::FileLock;
use crate::server::image;
use crate::wait::{self, Look};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A parked data directory is worth its memory for this long.
pub(super) const PARKED_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// A larger data directory is not parked.
const PARKED_MIB_MAX: u64 = 1024;
/// A keeper that stops cleanly is waited for so long: its templates are worth more than that.
const PARKING_DEADLINE: Duration = Duration::from_secs(5);

/// Enters the shared server of `home`, starting it when there is none. Blocks; not to be called within a
/// runtime.
///
/// # Errors
/// No server could be started.
pub(in crate::server) fn attach(
    home: &Home,
    installation: &Installation,
    settings: &Settings,
    cache: &Cache,
) -> Result<Attached> {
    if let Some(attached) = enter_published(home) {
        return Ok(attached);
    }
    let _elected = FileLock::wait(&home.lock_file())?;
    match enter_published(home) {
        Some(attached) => Ok(attached),
        None => start(home, installation, settings, cache, &roots::candidates(cache)?),
    }
}

/// As [`attach`], for one who found the server at `dead` refusing connections.
///
/// # Errors
/// As [`attach`].
pub(in crate::server) fn replace(
    home: &Home,
    installation: &Installation,
    settings: &Settings,
    cache: &Cache,
    dead: &Path,
) -> Result<Attached> {
    let _elected = FileLock::wait(&home.lock_file())?;
    if Published::read(home).is_some_and(|published| published.base == dead) {
        // Somebody else may have replaced it already: then the state names another base and stays.
        let _ = fs::remove_file(home.state_file());
        // Nor is its data worth the place of its successor's.
        let _ = fs::write(dead.join("spoiled"), "");
    }
    match enter_published(home) {
        Some(attached) => Ok(attached),
        None => start(home, installation, settings, cache, &roots::candidates(cache)?),
    }
}

/// Enters the server of `home` if its data are of generation `wanted`, starting it again where they are parked.
/// `None`: they are gone. Blocks; not to be called within a runtime.
///
/// # Errors
/// The installation is no longer there, or the server does not start.
pub(in crate::server) fn reenter(
    home: &Home,
    origin: &Origin,
    cache: &Cache,
    wanted: &str,
) -> Result<Option<Attached>> {
    let is_wanted = |attached: &Attached| has_living_data(&attached.door.base, wanted);
    if let Some(attached) = enter_published(home) {
        return Ok(Some(attached).filter(is_wanted));
    }
    let _elected = FileLock::wait(&home.lock_file())?;
    if let Some(attached) = enter_published(home) {
        return Ok(Some(attached).filter(is_wanted));
    }
    let Some(parked) = parked_data(home, origin, wanted) else { return Ok(None) };
    // What is asked for must not be what makes room; that it cannot be touched is no reason not to try.
    let _ = fs::File::open(parked).and_then(|base| base.set_modified(SystemTime::now()));
    let attached = start(home, &origin.installation()?, &origin.settings, cache, &origin.roots)?;
    // Where parked data turn out to be broken, a server is started on fresh ones.
    Ok(Some(attached).filter(is_wanted))
}

/// Whether [`reenter`] would find the data of generation `wanted`.
pub(in crate::server) fn has_generation(home: &Home, origin: &Origin, wanted: &str) -> bool {
    match enter_published(home) {
        Some(attached) => has_living_data(&attached.door.base, wanted),
        None => parked_data(home, origin, wanted).is_some(),
    }
}

/// A server that ended under its keeper is not started again on its data.
fn has_living_data(base: &Path, wanted: &str) -> bool {
    generation(base).is_some_and(|generation| generation == wanted) && !base.join("ended").exists()
}

/// The parked base that the next starter takes, if its data are of generation `wanted`.
fn parked_data(home: &Home, origin: &Origin, wanted: &str) -> Option<PathBuf> {
    wait_for_parking(home, &origin.roots);
    let next = all_parked(home, &origin.roots).into_iter().find(|base| is_usable(base))?;
    generation(&next).is_some_and(|generation| generation == wanted).then_some(next)
}

/// Removes what was left behind by those who were killed, unless somebody starts a server at this moment, who
/// does it too.
pub(in crate::server) fn tidy(home: &Home, cache: &Cache) {
    if let (Ok(Some(_elected)), Ok(candidates)) =
        (FileLock::try_take(&home.lock_file()), roots::candidates(cache))
    {
        reclaim::reclaim(home, &candidates);
        image::collect(cache);
    }
}

fn enter_published(home: &Home) -> Option<Attached> {
    let published = Published::read(home)?;
    match enter(&published.base) {
        Entry::In(door) => Some(Attached { door, port: published.port }),
        Entry::NoKeeper | Entry::Retiring => None,
    }
}

/// Starts a server and publishes it; only under the lock.
fn start(
    home: &Home,
    installation: &Installation,
    settings: &Settings,
    cache: &Cache,
    candidates: &[PathBuf],
) -> Result<Attached> {
    reclaim::reclaim(home, candidates);
    reclaim::forget_homes(home);
    image::collect(cache);
    wait_for_parking(home, candidates);
    let parked = take_parked(home, candidates);
    let (root, source) = match parked {
        Some(parked) => (parked.parent().unwrap_or(Path::new("/tmp")).to_owned(), Source::Parked(parked)),
        None => {
            let prepared = DataDir::prepared(installation, cache)?;
            (roots::choose(cache)?, Source::Copy(prepared.path().to_owned()))
        }
    };
    let park = Park::Slot { prefix: root.join(home.parked_prefix()), mib_max: PARKED_MIB_MAX };
    let grace = Duration::from_millis(env::GRACE_MS.number()?.unwrap_or(3000));
    let launched = Launch { home, installation, settings, root, source, park, grace }.start()?;
    let published = Published { base: launched.door.base.clone(), port: launched.port };
    published.write(home)?;
    // Without it kept databases are not found when this server has stopped, and all else is well.
    let _ = Origin::new(home, installation, settings, candidates).write(home);
    // Not before: the data of one that nobody ever entered must not take the place of a former one's.
    ask_to_park(&published.base)?;
    Ok(launched)
}

/// Entries of the candidates whose names start with `prefix`.
pub(super) fn entries(candidates: &[PathBuf], prefix: &str) -> Vec<PathBuf> {
    candidates
        .iter()
        .filter_map(|root| fs::read_dir(root).ok())
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

/// A keeper of ours that retires right now will park its data in a moment.
fn wait_for_parking(home: &Home, candidates: &[PathBuf]) {
    let waited = wait::until("the last server's data to be parked", PARKING_DEADLINE, || {
        // From the moment when it is no longer open, which is when newcomers are turned away.
        let retires = entries(candidates, &home.base_prefix()).into_iter().any(|base| {
            !base.join("open").exists()
                && base.join("up").exists()
                && !base.join("spoiled").exists()
                && reclaim::has_parking_keeper(home, &base)
        });
        Ok(if retires { Look::NotYet("it stops".into()) } else { Look::Ready(()) })
    });
    // A keeper that takes longer parks too late, and its data is removed by the next starter.
    let _ = waited;
}

/// The parked bases of this home, the newest first.
fn all_parked(home: &Home, candidates: &[PathBuf]) -> Vec<PathBuf> {
    newest_first(entries(candidates, &home.parked_prefix()))
}

pub(super) fn newest_first(mut bases: Vec<PathBuf>) -> Vec<PathBuf> {
    bases.sort_by_key(|base| std::cmp::Reverse(modified(base)));
    bases
}

/// The newest parked base of this home that can be used; others are removed.
fn take_parked(home: &Home, candidates: &[PathBuf]) -> Option<PathBuf> {
    let mut taken = None;
    for base in all_parked(home, candidates) {
        if taken.is_none() && is_usable(&base) {
            taken = Some(base);
        } else {
            reclaim::remove_parked(&base);
        }
    }
    taken
}

/// Data that was not synced to a disk is not to be trusted after a restart of the machine.
fn is_usable(base: &Path) -> bool {
    let boot_then = fs::read_to_string(base.join("boot")).unwrap_or_default();
    let boot_now = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let has_room = base.parent().is_some_and(|root| roots::objection(root).is_none());
    !reclaim::is_given_up(base)
        && boot_then == boot_now
        && has_room
        && DataDir::at(base.join("data")).was_shut_down()
}

pub(super) fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
