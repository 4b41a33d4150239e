//! What a live process holds on a server; gone the moment the process is, SIGKILL included.

use crate::error::{Attempt, ErrorKind, Result};
use crate::process::FileLock;
use sqlx::PgConnection;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of an owner of databases: 16 hexadecimal digits, random, never used twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(String);

impl OwnerId {
    /// A new owner.
    pub fn random() -> OwnerId {
        use std::hash::BuildHasher;
        let random = std::collections::hash_map::RandomState::new().hash_one((
            std::process::id(),
            std::time::SystemTime::now(),
            std::thread::current().id(),
        ));
        OwnerId(format!("{random:016x}"))
    }

    /// Reads an owner's name back.
    pub fn parse(text: &str) -> Option<OwnerId> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 16 && text.bytes().all(is_hex)).then(|| OwnerId(text.to_owned()))
    }

    /// The key of this owner's advisory lock.
    fn key(&self) -> i64 {
        u64::from_str_radix(&self.0, 16).unwrap_or_default().cast_signed()
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How owners of a server prove that they live.
#[derive(Clone, Debug)]
pub enum Leases {
    /// By a locked file each: it survives a crash of the server.
    Files(PathBuf),
    /// By a session's advisory lock in the maintenance database: for servers that several machines share.
    Sessions,
}

/// After a start of the server all sessions' locks are gone: so long nobody is taken for dead, and who lives
/// takes its lease again.
const SESSION_GRACE_SECONDS: f64 = 60.0;

/// A lease's file has no name yet for at most so long.
const NAMELESS: Duration = Duration::from_secs(10);

/// A lease that is held.
#[derive(Debug)]
pub struct Lease {
    owner: OwnerId,
    /// With files: the lock. With sessions the connection holds it.
    file: Option<FileLock>,
}

impl Lease {
    /// Whose it is.
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// Says that nothing of this owner is left, so that nobody need look for it.
    pub fn close(&self) {
        if let Some(lock) = &self.file {
            // Removed while it is held: see `bury`.
            let _ = fs::remove_file(lock.path());
        }
    }
}

/// A dead owner's lease in our hands: nobody else decides about its databases meanwhile.
#[derive(Debug)]
pub enum Seized {
    /// A lock file that nobody held, or none at all.
    File(Option<FileLock>),
    /// An advisory lock of the session that seized it.
    Session(OwnerId),
}

impl Leases {
    /// Takes the lease of a new owner. With sessions it lasts as long as `control` does.
    ///
    /// # Errors
    /// The lock file cannot be made, or the server refuses.
    pub async fn take(&self, control: &mut PgConnection) -> Result<Lease> {
        if let Some(lease) = self.take_without_session()? {
            return Ok(lease);
        }
        let owner = OwnerId::random();
        hold_session_lock(control, &owner).await?;
        Ok(Lease { owner, file: None })
    }

    /// As [`take`](Leases::take), where that needs no session; `None`: it does.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub(crate) fn take_without_session(&self) -> Result<Option<Lease>> {
        let Leases::Files(dir) = self else { return Ok(None) };
        let owner = OwnerId::random();
        let file = take_file(dir, &owner)?;
        Ok(Some(Lease { owner, file: Some(file) }))
    }

    /// Takes a lease again on a new control connection.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn renew(&self, lease: &Lease, control: &mut PgConnection) -> Result<()> {
        match self {
            Leases::Files(_) => Ok(()),
            Leases::Sessions => hold_session_lock(control, &lease.owner).await,
        }
    }

    /// Owners who died without closing their leases, as far as that can be seen without asking the server.
    pub fn dead_owners(&self) -> Vec<OwnerId> {
        let Leases::Files(dir) = self else { return Vec::new() };
        let mut dead = Vec::new();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_free = || matches!(FileLock::try_existing(&path), Ok(Some(_)));
            match OwnerId::parse(&name) {
                Some(owner) if is_free() => dead.push(owner),
                Some(_) => {}
                // Its owner died before it took a name, unless it is about to.
                None => {
                    let age = entry.metadata().and_then(|file| file.modified()).map(|time| time.elapsed());
                    if age.is_ok_and(|age| age.is_ok_and(|age| age > NAMELESS)) && is_free() {
                        let _ = fs::remove_file(&path);
                    }
                }
            }
        }
        dead
    }

    /// Seizes the lease of `owner` if it provably lives no more.
    ///
    /// # Errors
    /// The lock file cannot be opened, or the server refuses.
    pub async fn seize(&self, control: &mut PgConnection, owner: &OwnerId) -> Result<Option<Seized>> {
        match self {
            Leases::Files(dir) => {
                let path = dir.join(owner.to_string());
                if !path.exists() {
                    return Ok(Some(Seized::File(None)));
                }
                Ok(FileLock::try_existing(&path)?.map(|lock| Seized::File(Some(lock))))
            }
            Leases::Sessions => {
                // `case`, so that no lock is taken within the grace. Advisory locks are per database, but all can
                // be seen from any: an owner may keep house in another database than we do.
                let free: bool = sqlx::query_scalar(
                    "select case
                         when extract(epoch from now() - pg_postmaster_start_time()) < $2 then false
                         when exists (select from pg_locks
                                      where locktype = 'advisory' and objsubid = 1 and granted
                                        and (classid::int8 << 32) | objid::int8 = $1) then false
                         else pg_try_advisory_lock($1)
                     end",
                )
                .bind(owner.key())
                .bind(SESSION_GRACE_SECONDS)
                .fetch_one(control)
                .await?;
                Ok(free.then(|| Seized::Session(owner.clone())))
            }
        }
    }

    /// Whether leases are files: then a lease is lost only with its process.
    pub fn are_files(&self) -> bool {
        matches!(self, Leases::Files(_))
    }

    /// Lets go of a seized lease whose owner has left something behind still.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn release(&self, control: &mut PgConnection, seized: Seized) -> Result<()> {
        match seized {
            Seized::File(_) => Ok(()),
            Seized::Session(_) => self.bury(control, seized).await,
        }
    }

    /// Lets go of a seized lease, once nothing of its owner is left.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn bury(&self, control: &mut PgConnection, seized: Seized) -> Result<()> {
        match seized {
            Seized::File(Some(lock)) => {
                // Removed while it is held: a file without a holder never comes to life again.
                let _ = fs::remove_file(lock.path());
            }
            Seized::File(None) => {}
            Seized::Session(owner) => {
                sqlx::query("select pg_advisory_unlock($1)").bind(owner.key()).execute(control).await?;
            }
        }
        Ok(())
    }
}

/// The file appears under its name only when its lock is held: without this a sweeper could meet it between.
fn take_file(dir: &Path, owner: &OwnerId) -> Result<FileLock> {
    fs::create_dir_all(dir)
        .attempt(ErrorKind::Environment, || format!("failed to create `{}`", dir.display()))?;
    let (new, path) = (dir.join(format!("{owner}.new")), dir.join(owner.to_string()));
    let lock = FileLock::wait(&new)?;
    fs::rename(&new, &path)
        .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))?;
    Ok(lock.renamed(path))
}

async fn hold_session_lock(control: &mut PgConnection, owner: &OwnerId) -> Result<()> {
    sqlx::query("select pg_advisory_lock($1)").bind(owner.key()).execute(control).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_back() {
        let owner = OwnerId::random();
        assert_eq!(OwnerId::parse(&owner.to_string()), Some(owner));
        assert_eq!(OwnerId::parse("0123"), None);
        assert_eq!(OwnerId::parse("0123456789ABCDEF"), None);
    }
}
