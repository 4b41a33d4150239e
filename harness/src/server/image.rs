//! Data directories with a template in them, kept in the cache for tests that want a server of their own.

use super::backend::Image;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::Cache;
use crate::process::{FileLock, Program, User};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// So many images are kept; beyond that those used longest ago go.
const IMAGES_MAX: usize = 8;
/// An image that was used so recently may be copied from at this moment.
const IN_USE: Duration = Duration::from_secs(600);

/// The image called `key`. If there is none, `make` parks a data directory under the prefix that it is given,
/// and says where. Blocks.
pub(super) fn find_or_make(
    cache: &Cache,
    key: &str,
    make: impl FnOnce(&Path) -> Result<PathBuf>,
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
    clear(&shelf, key);
    let parked = make(&shelf.join(format!("{key}.parked-")))?;
    // The keeper moved it here across file systems if need be; a rename within the shelf publishes it.
    let published = fs::rename(parked.join("data"), &data);
    let _ = fs::remove_dir_all(&parked);
    published.map_err(|error| {
        Error::new(ErrorKind::Environment, format!("failed to publish `{}`", data.display()))
            .with_source(error)
    })?;
    Ok(Image { data })
}

/// Whether the image is complete; notes its use.
fn is_there(data: &Path) -> bool {
    if !data.join("PG_VERSION").exists() {
        return false;
    }
    // The directory's time is the time of its last use; as root we are not its owner, so the server's user
    // touches it. It only decides which images go first.
    let _ = Program::new("touch").arg(data).as_user(User::for_server()).run();
    true
}

/// Removes what an interrupted making of this image left, and images beyond their number.
fn clear(shelf: &Path, key: &str) {
    let mut images: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(shelf).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{key}.")) {
            let _ = fs::remove_dir_all(entry.path());
        } else if let Ok(used) = entry.metadata().and_then(|metadata| metadata.modified()) {
            images.push((used, entry.path()));
        }
    }
    images.sort_unstable_by(|a, b| b.cmp(a));
    for (used, image) in images.into_iter().skip(IMAGES_MAX - 1) {
        if used.elapsed().is_ok_and(|idle| idle > IN_USE) {
            let _ = fs::remove_dir_all(image);
        }
    }
}
