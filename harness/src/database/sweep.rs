//! Dropping what provably belongs to nobody.

use super::host::drop_database;
use super::keep::{KEPT_MAX, Kept};
use super::name::{DatabaseName, PREFIX};
use crate::error::Result;
use crate::server::{OwnerId, Server};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A process sweeps when nobody did for so long: under a runner that starts one per test, most need not.
const INTERVAL: Duration = Duration::from_secs(10);
/// So many templates stay on a server; beyond that those used longest ago go.
const TEMPLATES_MAX: usize = 8;

/// A database of ours, as the server lists it.
struct Listed {
    text: String,
    name: DatabaseName,
    comment: String,
    is_invalid: bool,
}

/// Sweeps, unless somebody did a moment ago.
pub(super) async fn sweep_if_due(server: &Server, control: &mut PgConnection) -> Result<()> {
    if let Some(base) = server.base() {
        let mark = base.join("swept");
        let age = std::fs::metadata(&mark).and_then(|file| file.modified()).map(|time| time.elapsed());
        if age.is_ok_and(|age| age.is_ok_and(|age| age < INTERVAL)) {
            return Ok(());
        }
        // Without the mark the next process sweeps as well, which is only work.
        let _ = std::fs::write(mark, "");
    }
    sweep(server, control).await
}

/// Drops the databases of dead owners, invalid ones of ours, kept ones beyond their number, and templates
/// that were not used for longest beyond theirs, with their clones.
///
/// # Errors
/// The server refuses.
pub(super) async fn sweep(server: &Server, control: &mut PgConnection) -> Result<()> {
    let databases = list(control).await?;
    let mut owned: BTreeMap<OwnerId, Vec<&Listed>> = BTreeMap::new();
    let mut kept = Vec::new();
    for database in &databases {
        match &database.name {
            DatabaseName::Building { owner, .. } => owned.entry(owner.clone()).or_default().push(database),
            DatabaseName::Claimed { owner, .. } => {
                match Kept::parse(&database.comment).and_then(|kept| kept.since) {
                    Some(since) => kept.push((since, database)),
                    None => owned.entry(owner.clone()).or_default().push(database),
                }
            }
            // A drop of it was interrupted: it can only be dropped again, and nobody can use it.
            DatabaseName::Base { .. } => {}
            DatabaseName::Ready { .. } | DatabaseName::Template { .. } if database.is_invalid => {
                drop_database(control, &database.text).await?;
            }
            DatabaseName::Ready { .. } | DatabaseName::Template { .. } => {}
        }
    }
    for (owner, databases) in owned {
        let Some(seized) = server.leases().seize(control, &owner).await? else { continue };
        let still_there = names(control).await?;
        for database in databases {
            // Between our list and the seizure its state may have changed: look again.
            if still_there.contains(&(database.text.clone(), database.comment.clone())) {
                drop_database(control, &database.text).await?;
            }
        }
        server.leases().bury(control, seized).await?;
    }
    kept.sort_by_key(|(since, _)| std::cmp::Reverse(*since));
    for (_, database) in kept.into_iter().skip(KEPT_MAX) {
        drop_database(control, &database.text).await?;
    }
    drop_old_templates(control, &databases).await
}

async fn drop_old_templates(control: &mut PgConnection, databases: &[Listed]) -> Result<()> {
    let mut templates: Vec<(u64, &str, &str)> = databases
        .iter()
        .filter_map(|database| match &database.name {
            DatabaseName::Template { digest } => {
                Some((last_use(&database.comment), digest.as_str(), database.text.as_str()))
            }
            _ => None,
        })
        .collect();
    templates.sort_unstable_by(|a, b| b.cmp(a));
    let living: Vec<&str> = templates.iter().take(TEMPLATES_MAX).map(|(_, digest, _)| *digest).collect();
    for (_, _, name) in templates.iter().skip(TEMPLATES_MAX) {
        // A server refuses to drop what is marked as a template.
        let unmark = format!("alter database {} is_template false", crate::ident::quote_ident(name));
        sqlx::raw_sql(sqlx::AssertSqlSafe(unmark)).execute(&mut *control).await?;
        drop_database(control, name).await?;
    }
    for database in databases {
        if let DatabaseName::Ready { digest, .. } = &database.name
            && !living.contains(&digest.as_str())
        {
            drop_database(control, &database.text).await?;
        }
    }
    Ok(())
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

async fn names(control: &mut PgConnection) -> Result<Vec<(String, String)>> {
    Ok(list(control).await?.into_iter().map(|database| (database.text, database.comment)).collect())
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
