//! Data directories with a template in them, kept in the cache for tests that want a server of their own.

use super::backend::Image;
use super::keeper::has_keeper_of;
use crate::error::Result;
use crate::postgres::Cache;
use crate::process::FileLock;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// So many images are kept; beyond that those used longest ago go.
const IMAGES_MAX: usize = 8;
/// An image that was used so recently may be copied from at this moment.
const IN_USE: Duration = Duration::from_secs(600);

/// The image called `key`. If there is none, `make` has a keeper park a data directory under the name that it is
/// given. Blocks.
pub(super) fn find_or_make(
    cache: &Cache,
    key: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<Image> {
    let shelf = cache.server_dir("clusters")?;
    let data = shelf.join(key);
    if is_there(&data) {
        return Ok(Image { data });
    }
    let _alone = FileLock::wait(&cache.private_dir("locks")?.join(format!("image-{key}")))?;
    if is_there(&data) {
        return Ok(Image { data });
    }
    // We hold the lock: whatever has this name is what somebody left who was killed.
    clear(&shelf, key);
    limit(&shelf);
    // It appears complete or not at all, even when we are killed meanwhile: see `park` in the keeper.
    make(&data)?;
    Ok(Image { data })
}

/// Whether the image is complete; notes its use.
fn is_there(data: &Path) -> bool {
    if !data.join("PG_VERSION").exists() {
        return false;
    }
    // The directory's time is the time of its last use. It only decides which images go first.
    let _ = fs::File::open(data).and_then(|dir| dir.set_modified(SystemTime::now()));
    true
}

/// Removes what interrupted makings of images left, whatever they were of.
pub(super) fn collect(cache: &Cache) {
    let (Ok(shelf), Ok(locks)) = (cache.server_dir("clusters"), cache.private_dir("locks")) else { return };
    for name in names(&shelf) {
        let Some((key, _)) = name.split_once('.') else { continue };
        // Somebody who makes it at this moment holds the lock.
        if let Ok(Some(_alone)) = FileLock::try_take(&locks.join(format!("image-{key}"))) {
            clear(&shelf, key);
        }
    }
}

/// Removes what is left of the making of `key`; only under its lock.
fn clear(shelf: &Path, key: &str) {
    for name in names(shelf) {
        let mut parts = name.splitn(3, '.');
        let (Some(its_key), Some(random)) = (parts.next(), parts.next()) else { continue };
        // A keeper that lives still moves files into it, and takes care of it.
        if its_key != key || has_keeper_of(random) {
            continue;
        }
        // Without its name nobody can publish it any more.
        let given_up = shelf.join(format!("{key}.{random}.gone"));
        let _ = fs::rename(shelf.join(&name), &given_up);
        let _ = fs::remove_dir_all(given_up);
    }
}

/// Removes an image, which loses its name first: whoever is killed over it leaves nothing that looks complete.
fn give_up(image: &Path) {
    let given_up = image.with_extension("old.gone");
    if fs::rename(image, &given_up).is_ok() {
        let _ = fs::remove_dir_all(given_up);
    }
}

/// Removes images beyond their number, to make room for another.
fn limit(shelf: &Path) {
    let mut images: Vec<(SystemTime, PathBuf)> = names(shelf)
        .into_iter()
        .filter(|name| !name.contains('.'))
        .filter_map(|name| {
            let image = shelf.join(name);
            Some((image.metadata().and_then(|metadata| metadata.modified()).ok()?, image))
        })
        .collect();
    images.sort_unstable_by(|a, b| b.cmp(a));
    for (used, image) in images.into_iter().skip(IMAGES_MAX - 1) {
        if used.elapsed().is_ok_and(|idle| idle > IN_USE) {
            give_up(&image);
        }
    }
}

fn names(shelf: &Path) -> Vec<String> {
    let entries = fs::read_dir(shelf).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
