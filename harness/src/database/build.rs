//! Building a template: under another name, by one process, and published by a rename.

use super::drops::{drop_whole, wait_for_sessions};
use super::keep::Kept;
use super::name::{DIGEST_DIGITS, DatabaseName};
use super::original::Original;
use super::prepared::Prepared;
use super::replay::Replay;
use super::shared_objects::SharedObjects;
use super::sweep::{last_use, use_comment, use_template};
use super::work::Work;
use crate::digest::Hasher;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::{quote_ident, quote_literal};
use crate::process::{FileLock, on_a_thread};
use crate::server::Server;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// A template that is there.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) replay: Replay,
    pub(super) size_mib: u64,
}

impl Built {
    /// What is said about a clone that is for the test `test`, and what cloning lost; then a query of what is to be
    /// known of it.
    pub(super) fn finishing_touches(&self, name: &str, test: &str) -> String {
        let comment = Kept { test: test.to_owned(), since_ms: None }.sql(name);
        let facts = format!(
            "select oid::int8, pg_current_xact_id()::xid::text::int8, pg_current_wal_insert_lsn()::text
             from pg_database where datname = {}",
            quote_literal(name)
        );
        self.replay.sql(name).chain([comment, facts]).collect::<Vec<_>>().join("; ")
    }
}

/// A template's last use is written down when the last note is older than this.
const USE_NOTE_SECONDS: u64 = 3600;

/// The digest in the names of what is made of a template on a server of this version.
///
/// # Errors
/// It is remembered that the template needs a server of its own.
pub(super) fn digest(work: &Work, prepared: &Prepared) -> Result<String> {
    if !prepared.has_own_server() && remembers_own_server(&work.server(), prepared) {
        prepared.want_own_server();
        return Err(needs_own_server());
    }
    let hasher = Hasher::new("template")
        .field("sources", prepared.source_digest().bytes())
        .field("server", &work.facts.borrow().version);
    Ok(hasher.finish().short(DIGEST_DIGITS))
}

/// Finds the template with this digest on the server, or builds it.
pub(super) async fn find_or_build(work: &Work, prepared: &Arc<Prepared>, digest: &str) -> Result<Built> {
    let server = work.server();
    let name = DatabaseName::Template { digest: digest.to_owned() }.to_string();
    // First: what is found is there to stay. The session lives as long as we do, or we come here again.
    use_template(&mut *work.control().await?, digest).await?;
    // The fast path takes no lock, since a name that exists is complete, and no connection of its own.
    if let Some(built) = find(&mut *work.control().await?, &name).await? {
        return Ok(built);
    }
    let mut control = work.connect().await?;
    let lock = BuildLock::take(&server, &mut control, digest).await?;
    if !exists(&mut control, &name).await? {
        build(work, prepared, &mut control, &lock, digest).await?;
    }
    lock.release(&mut control).await?;
    let built = find(&mut control, &name).await?;
    let _ = control.close().await;
    built.ok_or_else(|| Error::server(format!("template `{name}` was dropped as soon as it was built")))
}

/// The template, if it is there; notes its use.
async fn find(control: &mut PgConnection, name: &str) -> Result<Option<Built>> {
    let facts: Option<(i64, String)> = sqlx::query_as(
        "select pg_database_size(oid), coalesce(shobj_description(oid, 'pg_database'), '')
         from pg_database where datname = $1 and datconnlimit <> -2",
    )
    .bind(name)
    .fetch_optional(&mut *control)
    .await?;
    let Some((bytes, comment)) = facts else { return Ok(None) };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    if now.saturating_sub(last_use(&comment)) > USE_NOTE_SECONDS {
        let sql = format!("comment on database {} is {}", quote_ident(name), quote_literal(&use_comment()));
        control.execute(AssertSqlSafe(sql)).await?;
    }
    let replay = Replay::read(control, name).await?;
    let size_mib = u64::try_from(bytes).unwrap_or_default() >> 20;
    Ok(Some(Built { replay, size_mib: size_mib + 1 }))
}

fn needs_own_server() -> Error {
    Error::server("the template changes roles or other objects that all databases of a server share")
        .with_help("it gets a server of its own")
}

async fn exists(control: &mut PgConnection, name: &str) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "select exists (select from pg_database where datname = $1 and datconnlimit <> -2)",
    )
    .bind(name)
    .fetch_one(control)
    .await?)
}

async fn build(
    work: &Work,
    prepared: &Arc<Prepared>,
    control: &mut PgConnection,
    lock: &BuildLock,
    digest: &str,
) -> Result<()> {
    let server = work.server();
    let name = DatabaseName::Template { digest: digest.to_owned() }.to_string();
    let base = if prepared.recipe.has_bootstrap() {
        Some(find_or_build_base(work, prepared, control, lock).await?)
    } else {
        None
    };
    let new = work.building_name();
    let (created, before) = tokio::join!(create(work, control, &new, base.as_deref()), shared_objects(work));
    created?;
    let before = before?;
    let filled = prepared.recipe.fill(&server, &new).await;
    if let Some(before) = &before {
        if !prepared.has_own_server() {
            if leaves_traces(control, &server, before, &new).await? {
                work.drops.disown(&new);
                remember_own_server(&server, prepared)?;
                prepared.want_own_server();
                return Err(needs_own_server());
            }
        } else if filled.is_ok() && SharedObjects::read(control).await? == *before {
            // It is here only because its files as they were needed it.
            forget_place(&server, prepared);
        }
    }
    let finished = match filled {
        Ok(()) => finish(control, &server, &new, &name, digest).await,
        Err(error) => Err(error),
    };
    // The error that counts is the first one; a database that stays is dropped at the end, or swept later.
    if finished.is_ok() || drop_whole(&server, control, &new).await.is_ok() {
        work.drops.disown(&new);
    }
    match finished {
        // Session locks are per database: somebody who keeps house in another one was quicker with the same.
        Err(error) if error.sqlstate().as_deref() == Some("42P04") && exists(control, &name).await? => Ok(()),
        other => other,
    }
}

/// What a template must not change. On a server that is not ours nobody else's roles are our business, and there is no
/// other server to go to.
async fn shared_objects(work: &Work) -> Result<Option<SharedObjects>> {
    match work.server().base() {
        Some(_) => SharedObjects::read(&mut *work.control().await?).await.map(Some),
        None => Ok(None),
    }
}

/// Creates a database: empty, or equal to the base that a bootstrap left.
async fn create(work: &Work, control: &mut PgConnection, new: &str, base: Option<&str>) -> Result<()> {
    let template = base.unwrap_or("template0");
    let create =
        format!("create database {} template {} strategy file_copy", quote_ident(new), quote_ident(template));
    let mut statements = vec![create];
    if let Some(base) = base {
        statements.extend(Replay::read(control, base).await?.sql(new));
    }
    for sql in statements {
        control
            .execute(AssertSqlSafe(sql))
            .await
            .attempt(ErrorKind::Database, || format!("failed to create the database of a template, `{new}`"))
            .inspect_err(|error| work.is_refused(new, error))?;
    }
    work.drops.own(new);
    Ok(())
}

/// The database that the bootstrap was run in, run now if it never was on this server.
async fn find_or_build_base(
    work: &Work,
    prepared: &Prepared,
    control: &mut PgConnection,
    lock: &BuildLock,
) -> Result<String> {
    let digest = prepared.bootstrap_digest().short(DIGEST_DIGITS);
    let name = DatabaseName::Base { digest: digest.clone() }.to_string();
    if exists(control, &name).await? {
        return Ok(name);
    }
    let server = work.server();
    let lock = lock.and(control, &digest).await?;
    if !exists(control, &name).await? {
        let new = work.building_name();
        create(work, control, &new, None).await?;
        let begun = match prepared.recipe.begin(&server, &new).await {
            Ok(()) => publish(control, &server, &new, &name).await,
            Err(error) => Err(error),
        };
        // Its roles would make the next run of a bootstrap that failed half-way fail in another way.
        if begun.is_err() {
            server.spoil();
        }
        if begun.is_ok() || drop_whole(&server, control, &new).await.is_ok() {
            work.drops.disown(&new);
        }
        begun?;
    }
    if let Some(lock) = lock {
        lock.release(control).await?;
    }
    Ok(name)
}

/// Whether shared objects were changed; then the new database is dropped, and the changes are undone as far as
/// that can be. What cannot be undone ends with this server's data.
async fn leaves_traces(
    control: &mut PgConnection,
    server: &Server,
    before: &SharedObjects,
    new: &str,
) -> Result<bool> {
    let after = SharedObjects::read(control).await?;
    if after == *before {
        return Ok(false);
    }
    drop_whole(server, control, new).await?;
    let undone = after.drop_roles_since(before, control).await.is_ok();
    if !undone || SharedObjects::read(control).await? != *before {
        server.spoil();
    }
    Ok(true)
}

/// Makes the new database fit for cloning, and publishes it.
async fn finish(
    control: &mut PgConnection,
    server: &Server,
    new: &str,
    name: &str,
    digest: &str,
) -> Result<()> {
    let options = server.endpoint().options(new);
    let mut connection = crate::server::connect(&options).await?;
    settle(&mut connection).await?;
    // One more session: it leaves the relation cache file, which makes every clone's first connection faster.
    let last = async { crate::server::connect(&options).await?.close().await.map_err(Error::from) };
    let (recorded, last) = tokio::join!(Original::record(&mut connection, server, digest), last);
    let _ = connection.close().await;
    recorded.and(last)?;
    wait_for_sessions(control, new).await;
    publish(control, server, new, name).await
}

/// The catalogs that were written to, and the tables, with their schemas. Catalogs that are as `initdb` left them have no
/// map of their free space or visibility.
const WRITTEN: &str = "
    select coalesce(string_agg(name, ', ') filter (where oid < 16384), ''),
           coalesce(string_agg(name, ', ') filter (where oid >= 16384), '')
    from (select c.oid, format('%I.%I', n.nspname, c.relname) as name
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'm', 'p') and not c.relispartition
            and (c.oid >= 16384 or pg_relation_size(c.oid, 'vm') > 0 or pg_relation_size(c.oid, 'fsm') > 0
                 or c.relpages = 0 and pg_relation_size(c.oid) > 0)
          order by c.oid) written";

/// Freezes what was written to the database that `connection` is to, and analyses its tables, so that its clones have the
/// plans of a database that has been up for a while. The other catalogs' maps would only be more files to clone, and new
/// statistics of catalogs take more time than all the rest.
pub(super) async fn settle(connection: &mut PgConnection) -> Result<()> {
    // With an asynchronous commit just before, VACUUM could not mark pages all-visible, and plans would differ.
    connection.execute("set synchronous_commit = on").await?;
    let (catalogs, tables): (String, String) = sqlx::query_as(WRITTEN).fetch_one(&mut *connection).await?;
    for (options, names) in [("freeze", catalogs), ("freeze, analyze", tables)] {
        if !names.is_empty() {
            connection.execute(AssertSqlSafe(format!("vacuum ({options}) {names}"))).await?;
        }
    }
    Ok(())
}

/// Closes a complete database to connections and gives it its name: one that exists is complete.
async fn publish(control: &mut PgConnection, server: &Server, new: &str, name: &str) -> Result<()> {
    let own = if server.base().is_some() { "is_template true" } else { "" };
    let new = quote_ident(new);
    for sql in [
        format!("comment on database {new} is {}", quote_literal(&use_comment())),
        format!("alter database {new} with allow_connections false {own}"),
        format!("alter database {new} rename to {}", quote_ident(name)),
    ] {
        control
            .execute(AssertSqlSafe(sql))
            .await
            .attempt(ErrorKind::Database, || format!("failed to publish template `{name}`"))?;
    }
    Ok(())
}

/// Where it is remembered that a template changes shared objects, so that later runs need not find out; and, for all
/// servers, that one from the same files did as they were then, so that who edits them does not find out each time.
fn own_server_notes(server: &Server, prepared: &Prepared) -> Option<[PathBuf; 2]> {
    let (ours, of_all) = (server.state_dir()?, server.state_dir()?.parent()?);
    let notes = [(ours, prepared.source_digest()), (of_all, prepared.place())];
    Some(notes.map(|(dir, digest)| dir.join("own-server").join(digest.short(DIGEST_DIGITS))))
}

fn remembers_own_server(server: &Server, prepared: &Prepared) -> bool {
    own_server_notes(server, prepared).is_some_and(|notes| notes.iter().any(|note| note.exists()))
}

fn remember_own_server(server: &Server, prepared: &Prepared) -> Result<()> {
    for note in own_server_notes(server, prepared).into_iter().flatten() {
        note.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&note, ""))
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", note.display()))?;
    }
    Ok(())
}

/// The next template of these files is tried on the common server again.
fn forget_place(server: &Server, prepared: &Prepared) {
    if let Some([_, place]) = own_server_notes(server, prepared) {
        let _ = std::fs::remove_file(place);
    }
}

/// The right to build: a file's lock on a server of this machine, else a session's advisory lock on `control`.
enum BuildLock {
    File(FileLock),
    Session(i64),
}

impl BuildLock {
    async fn take(server: &Server, control: &mut PgConnection, digest: &str) -> Result<BuildLock> {
        match server.state_dir() {
            Some(dir) => {
                // One for all templates: a build that ran beside another could be blamed for the roles that the
                // other one makes.
                let path = dir.join("build");
                // On a plain thread, since the wait blocks; it ends with the build of another process.
                let lock = on_a_thread("pgharness-lock", move || FileLock::wait(&path))?;
                let lock =
                    lock.await.map_err(|_| Error::server("the thread that waited for a lock ended"))??;
                Ok(BuildLock::File(lock))
            }
            None => BuildLock::of_session(control, digest).await,
        }
    }

    /// The right to build something else beside: a file's lock covers all builds of its server already.
    async fn and(&self, control: &mut PgConnection, digest: &str) -> Result<Option<BuildLock>> {
        match self {
            BuildLock::File(_) => Ok(None),
            BuildLock::Session(_) => BuildLock::of_session(control, digest).await.map(Some),
        }
    }

    async fn of_session(control: &mut PgConnection, digest: &str) -> Result<BuildLock> {
        let key = u64::from_str_radix(digest, 16).unwrap_or_default().cast_signed();
        sqlx::query("select pg_advisory_lock($1)").bind(key).execute(control).await?;
        Ok(BuildLock::Session(key))
    }

    async fn release(self, control: &mut PgConnection) -> Result<()> {
        match self {
            BuildLock::File(lock) => drop(lock),
            BuildLock::Session(key) => {
                sqlx::query("select pg_advisory_unlock($1)").bind(key).execute(control).await?;
            }
        }
        Ok(())
    }
}
