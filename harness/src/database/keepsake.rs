//! Kept databases as they are noted outside their servers, so that they are found when those have stopped.

use super::drops::drop_database;
use super::keep::{KEPT_MAX, Kept};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::server::{KEPT, KEPT_MARK, KnownServer, Server};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// So long it is told of a kept database that it went with its server's data.
const GONE_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A database that was kept on a shared server of this machine, which may have stopped since.
#[derive(Clone, Debug)]
pub struct Keepsake {
    name: String,
    note: Note,
    server: Arc<KnownServer>,
}

/// What a note says. Its file has the name of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    kept: Kept,
    /// Of the data that the database is in: others of the same server do not have it.
    generation: String,
}

impl Keepsake {
    /// Those of all workspaces, the latest first.
    ///
    /// # Errors
    /// The cache cannot be opened.
    pub fn all() -> Result<Vec<Keepsake>> {
        let mut all = Vec::new();
        for server in KnownServer::all()?.into_iter().map(Arc::new) {
            let of_server = notes(server.state_dir()).into_iter();
            all.extend(of_server.map(|(name, note)| Keepsake { name, note, server: server.clone() }));
        }
        all.sort_by_key(|keepsake| (std::cmp::Reverse(keepsake.kept().since_ms), keepsake.name.clone()));
        Ok(all)
    }

    /// The database's name, which no other has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it was, and since when it is kept.
    pub fn kept(&self) -> &Kept {
        &self.note.kept
    }

    /// The workspace that shares its server.
    pub fn workspace(&self) -> &Path {
        self.server.workspace()
    }

    /// Whether its server has the data still that it is in, running or not.
    pub fn is_there(&self) -> bool {
        self.server.has_generation(&self.note.generation)
    }

    /// Its server, started again if need be. `None`: its data are gone. Blocks; not to be called within a
    /// runtime.
    ///
    /// # Errors
    /// The server's installation is no longer there, or it does not start.
    pub fn server(&self) -> Result<Option<Server>> {
        self.server.enter(&self.note.generation)
    }

    /// Notes that `database` is kept on `server`, if its data outlive it.
    pub(super) fn note(server: &Server, database: &str, kept: Kept) -> Result<()> {
        let (Some(state_dir), Some(generation)) = (server.state_dir(), server.generation()) else {
            return Ok(());
        };
        let path = state_dir.join(KEPT).join(database);
        let text = serde_json::to_vec(&Note { kept, generation })
            .map_err(|source| Error::server("failed to write a note").with_source(source))?;
        if let Some(data) = server.data() {
            // Without the mark they are parked all the same, only not for as long.
            let _ = fs::write(data.join(KEPT_MARK), "");
        }
        fs::create_dir_all(state_dir.join(KEPT))
            .and_then(|()| fs::write(&path, text))
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
    }
}

/// Drops kept databases beyond their number, the oldest first, but not `latest`; and forgets those that are no
/// longer there.
///
/// # Errors
/// The server does not answer.
pub(super) async fn limit(server: &Server, control: &mut PgConnection, latest: Option<&str>) -> Result<()> {
    // Before the databases: what is noted afterwards is not forgotten for not being among them.
    let notes = server.state_dir().map(notes).unwrap_or_default();
    let mut kept = Kept::list(control).await?;
    kept.sort_by_key(|(name, kept)| (latest != Some(name), std::cmp::Reverse(kept.since_ms)));
    for (name, _) in kept.drain(kept.len().min(KEPT_MAX)..) {
        // What cannot be dropped now is dropped at the next time.
        let _ = drop_database(control, &name).await;
    }
    let generation = server.generation();
    for (name, note) in notes {
        let is_over = if generation.as_ref() == Some(&note.generation) {
            !kept.iter().any(|(living, _)| *living == name)
        } else {
            note.kept.age() > GONE_AGE_MAX
        };
        if let Some(state_dir) = server.state_dir().filter(|_| is_over) {
            let _ = fs::remove_file(state_dir.join(KEPT).join(name));
        }
    }
    Ok(())
}

/// All notes in this state directory, with the names of the databases.
fn notes(state_dir: &Path) -> Vec<(String, Note)> {
    let entries = fs::read_dir(state_dir.join(KEPT)).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let note = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
        Some((entry.file_name().into_string().ok()?, note))
    };
    entries.filter_map(read).collect()
}
