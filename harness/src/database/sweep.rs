//! Dropping what provably belongs to nobody.

use super::drops::{drop_database, drop_whole, has_sessions};
use super::keep::Kept;
use super::keepsake;
use super::name::{DatabaseName, PREFIX};
use super::original::Original;
use super::shelf::{Place, Shelf};
use crate::error::Result;
use crate::server::{OwnerId, Server};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A process sweeps when nobody did for so long: under a runner that starts one per test, most need not.
const INTERVAL: Duration = Duration::from_secs(10);
/// So many templates stay on a server; beyond that those used longest ago go.
const TEMPLATES_MAX: usize = 8;
/// Who uses a template holds an advisory lock with this first key, shared with others who do.
const USE_LOCK: i32 = 0x7067_6875;

/// A database of ours, as the server lists it.
struct Listed {
    text: String,
    name: DatabaseName,
    comment: String,
    is_invalid: bool,
}

impl Listed {
    fn is_kept(&self) -> bool {
        Kept::parse(&self.comment).is_some_and(|kept| kept.since_ms.is_some())
    }
}

/// Whether it is time to sweep: nobody did a moment ago, or somebody has died since. Notes that somebody does.
pub(super) fn is_due(server: &Server) -> bool {
    let Some(mark) = mark(server) else { return true };
    let age = std::fs::metadata(&mark).and_then(|file| file.modified()).map(|time| time.elapsed());
    let is_recent = age.is_ok_and(|age| age.is_ok_and(|age| age < INTERVAL));
    if is_recent && server.leases().dead_owners().is_empty() {
        return false;
    }
    // Without the mark the next process sweeps as well, which is only work.
    let _ = std::fs::write(mark, "");
    true
}

/// Has the next process sweep: something was not done.
pub(super) fn want_sweep(server: &Server) {
    let _ = mark(server).map(std::fs::remove_file);
}

/// Says when somebody swept.
fn mark(server: &Server) -> Option<PathBuf> {
    Some(server.base()?.join("swept"))
}

/// Drops the databases of dead owners, invalid ones of ours, kept ones beyond their number, and templates
/// that nobody uses and that were not used for longest beyond theirs, with their clones. What cannot be dropped stays for the next
/// sweep, and keeps nothing else from being dropped.
///
/// # Errors
/// The server does not answer.
pub(super) async fn sweep(server: &Server, control: &mut PgConnection) -> Result<()> {
    let databases = list(control).await?;
    let mut owners: BTreeSet<OwnerId> = server.leases().dead_owners().into_iter().collect();
    for database in &databases {
        match &database.name {
            DatabaseName::Building { owner, .. } => drop(owners.insert(owner.clone())),
            DatabaseName::Claimed { .. } if database.is_kept() => {}
            DatabaseName::Claimed { owner, .. } => drop(owners.insert(owner.clone())),
            DatabaseName::Base { .. } => {}
            // A drop of it was interrupted: it can only be dropped again, and nobody can use it.
            DatabaseName::Ready { .. } | DatabaseName::Template { .. } if database.is_invalid => {
                let _ = drop_database(control, &database.text).await;
            }
            DatabaseName::Ready { .. } | DatabaseName::Template { .. } => {}
        }
    }
    for owner in owners {
        sweep_owner(server, control, &owner).await?;
    }
    drop_lent(server, control).await?;
    keepsake::limit(server, control, None).await?;
    drop_old_templates(server, control, &databases).await
}

/// Drops what `owner` left, if it is dead.
async fn sweep_owner(server: &Server, control: &mut PgConnection, owner: &OwnerId) -> Result<()> {
    let Some(seized) = server.leases().seize(control, owner).await? else { return Ok(()) };
    // Between our list and the seizure something may have changed: look again.
    let mut is_clean = true;
    for database in list(control).await? {
        let is_its = match &database.name {
            DatabaseName::Building { owner: its, .. } | DatabaseName::Claimed { owner: its, .. } => {
                its == owner
            }
            DatabaseName::Base { .. } | DatabaseName::Ready { .. } | DatabaseName::Template { .. } => false,
        };
        // On the shelf it has outlived its maker, and its file says what is to become of it.
        let is_shelved = || Shelf::of(server).is_some_and(|shelf| shelf.has(&database.text));
        if !is_its || database.is_kept() || is_shelved() {
            continue;
        }
        // On a server that others reach over a network an owner may have lost no more than its lease: whoever
        // is connected is left alone.
        if !server.leases().are_files() && has_sessions(control, &database.text).await? {
            is_clean = false;
            continue;
        }
        // Once more: what its owner had asked for may still have been going on.
        is_clean &= drop_whole(server, control, &database.text).await.is_ok()
            || drop_whole(server, control, &database.text).await.is_ok();
    }
    match is_clean {
        true => server.leases().bury(control, seized).await,
        false => server.leases().release(control, seized).await,
    }
}

/// Drops databases from the shelf whose holders died with them.
async fn drop_lent(server: &Server, control: &mut PgConnection) -> Result<()> {
    let Some(shelf) = Shelf::of(server) else { return Ok(()) };
    shelf.tidy();
    let lent = shelf.take_condemned(|_, _| false);
    let databases = if lent.is_empty() { Vec::new() } else { list(control).await? };
    for place in lent {
        let is_kept = databases.iter().any(|database| database.text == place.name && database.is_kept());
        if is_kept {
            place.clear();
        } else {
            drop_taken(server, control, place).await;
        }
    }
    Ok(())
}

/// Drops a database that was taken from the shelf for that; the next process does where this one cannot.
async fn drop_taken(server: &Server, control: &mut PgConnection, place: Place) {
    match drop_whole(server, control, &place.name).await {
        Ok(()) => place.clear(),
        Err(_) => want_sweep(server),
    }
}

async fn drop_old_templates(server: &Server, control: &mut PgConnection, databases: &[Listed]) -> Result<()> {
    let mut templates: Vec<(u64, &str, &str)> = databases
        .iter()
        .filter_map(|database| match &database.name {
            DatabaseName::Template { digest } => {
                let used = last_use(&database.comment).max(noted_use(server, digest));
                Some((used, digest.as_str(), database.text.as_str()))
            }
            _ => None,
        })
        .collect();
    templates.sort_unstable_by(|a, b| b.cmp(a));
    let mut living: Vec<&str> = templates.iter().take(TEMPLATES_MAX).map(|(_, digest, _)| *digest).collect();
    for (_, digest, name) in templates.iter().skip(TEMPLATES_MAX) {
        let key = use_key(digest);
        let is_used = Shelf::of(server).is_some_and(|shelf| shelf.is_used(digest));
        if is_used || !try_lock(control, key).await? {
            living.push(digest);
            continue;
        }
        if drop_whole(server, control, name).await.is_ok() {
            Original::forget(server, digest);
        }
        let unlock = sqlx::query("select pg_advisory_unlock($1, $2)").bind(USE_LOCK).bind(key);
        unlock.execute(&mut *control).await?;
    }
    for database in databases {
        if let DatabaseName::Ready { digest, .. } = &database.name
            && !living.contains(&digest.as_str())
        {
            let _ = drop_database(control, &database.text).await;
        }
    }
    let Some(shelf) = Shelf::of(server) else { return Ok(()) };
    // One that was put there since the templates were listed may be of a newer one.
    let was_listed = |name: &str| databases.iter().any(|database| database.text == name);
    let unwanted = |name: &str, digest: &str| !living.contains(&digest) && was_listed(name);
    for place in shelf.take_condemned(|name, label| unwanted(name, &label.digest)) {
        drop_taken(server, control, place).await;
    }
    Ok(())
}

/// Has nobody sweep the template with this digest as long as the session of `control` lasts: it belongs to a
/// process that is about to look for it.
pub(super) async fn use_template(control: &mut PgConnection, digest: &str) -> Result<()> {
    let lock = sqlx::query("select pg_advisory_lock_shared($1, $2)").bind(USE_LOCK).bind(use_key(digest));
    lock.execute(control).await?;
    Ok(())
}

/// Takes the marks of [`use_template`] back, in the session that made them.
///
/// # Errors
/// The server does not answer.
pub(super) async fn disuse_templates(control: &mut PgConnection, digests: &[&str]) -> Result<()> {
    for digest in digests {
        let unlock = sqlx::query("select pg_advisory_unlock_shared($1, $2)");
        unlock.bind(USE_LOCK).bind(use_key(digest)).execute(&mut *control).await?;
    }
    Ok(())
}

/// Drops templates that nobody uses and that were not used for longest, with their clones. The session must be one that
/// has no use for any.
///
/// # Errors
/// The server does not answer.
pub(super) async fn drop_unused(server: &Server, connection: &mut PgConnection) -> Result<()> {
    let databases = list(connection).await?;
    drop_old_templates(server, connection, &databases).await
}

/// Notes that a template is used now by somebody who got a clone from the shelf, and has no session.
pub(super) fn note_use(server: &Server, digest: &str) {
    // Without the note it is only swept sooner.
    let _ = use_note(server, digest).map(|note| std::fs::write(note, ""));
}

/// When that was, in seconds since 1970.
fn noted_use(server: &Server, digest: &str) -> u64 {
    let noted = use_note(server, digest).and_then(|note| std::fs::metadata(note).ok()?.modified().ok());
    noted.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs())
}

/// Beside what was recorded of the template, and forgotten with it.
fn use_note(server: &Server, digest: &str) -> Option<PathBuf> {
    Some(server.data()?.join(format!("pgharness.{digest}.used")))
}

/// The second key of a template's lock. Two templates with one key only live longer.
fn use_key(digest: &str) -> i32 {
    let digits = digest.get(..7).unwrap_or(digest);
    i32::from_str_radix(digits, 16).unwrap_or_default()
}

/// Takes the lock if nobody uses the template. Advisory locks are per database, but all can be seen from any: a
/// process may keep house in another database than we do.
async fn try_lock(control: &mut PgConnection, key: i32) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "select case
             when exists (select from pg_locks
                          where locktype = 'advisory' and objsubid = 2 and granted
                            and classid = $1::oid and objid = $2::oid) then false
             else pg_try_advisory_lock($1, $2)
         end",
    )
    .bind(USE_LOCK)
    .bind(key)
    .fetch_one(control)
    .await?)
}

/// When a template was last used, in seconds since 1970, by its comment.
pub(super) fn last_use(comment: &str) -> u64 {
    comment.strip_prefix("pgharness used ").and_then(|time| time.parse().ok()).unwrap_or_default()
}

/// The comment that says that a template is used now.
pub(super) fn use_comment() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    format!("pgharness used {now}")
}

async fn list(control: &mut PgConnection) -> Result<Vec<Listed>> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "select datname::text, coalesce(shobj_description(oid, 'pg_database'), ''), datconnlimit = -2
         from pg_database where starts_with(datname::text, $1) order by oid",
    )
    .bind(PREFIX)
    .fetch_all(control)
    .await?;
    let parse = |(text, comment, is_invalid): (String, String, bool)| {
        let name = DatabaseName::parse(&text)?;
        Some(Listed { text, name, comment, is_invalid })
    };
    Ok(rows.into_iter().filter_map(parse).collect())
}
