//! A template that is being used: its files as they were read, and the server that it belongs to.

use super::isolation::Isolation;
use super::needs::Needs;
use super::recipe::Recipe;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::process::on_a_thread;
use crate::server::ServerConfig;
use once_cell::sync::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A template's files as they were when it was first used, and the server that it belongs to.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) recipe: Recipe,
    pub(super) isolation: Isolation,
    /// Whether a database whose test changed nothing but rows is put back for another.
    pub(super) is_recycled: bool,
    needs: Needs,
    /// The server that is asked for.
    wanted: ServerConfig,
    /// That server with the extensions that the template needs; looked for once, since every test asks.
    server: OnceCell<Result<ServerConfig, Error>>,
    source_digest: Digest,
    bootstrap_digest: Digest,
    has_own_server: AtomicBool,
}

impl Prepared {
    pub(super) fn new(
        recipe: Recipe,
        server: ServerConfig,
        isolation: Isolation,
        is_recycled: bool,
    ) -> Result<Prepared> {
        Ok(Prepared {
            source_digest: recipe.digest(&server)?,
            bootstrap_digest: recipe.bootstrap_digest(&server)?,
            needs: recipe.needs(),
            recipe,
            isolation,
            is_recycled,
            wanted: server,
            server: OnceCell::new(),
            has_own_server: AtomicBool::new(false),
        })
    }

    /// The digest of everything but the server.
    pub(super) fn source_digest(&self) -> &Digest {
        &self.source_digest
    }

    /// Where its files lie, whatever is in them.
    pub(super) fn place(&self) -> &Digest {
        self.recipe.place()
    }

    /// The digest of the bootstrap alone.
    pub(super) fn bootstrap_digest(&self) -> &Digest {
        &self.bootstrap_digest
    }

    /// Where databases of this template live: on the workspace's common server; with a bootstrap, on one that
    /// those with the same bootstrap share, since its roles are the server's; or on one of its own if it changes
    /// roles beyond that. Each from an installation that has the extensions it needs.
    ///
    /// # Errors
    /// No installation has them.
    pub(super) async fn server_config(self: &Arc<Self>) -> Result<ServerConfig> {
        if self.server.get().is_none() && !self.needs.is_empty() {
            // On a plain thread: an installation may have to be fetched first.
            let prepared = self.clone();
            let found = on_a_thread("pgharness-find", move || prepared.server_config_blocking())?;
            return found.await.map_err(|_| Error::server("the thread that finds a server ended"))?;
        }
        self.server_config_blocking()
    }

    /// As [`server_config`](Prepared::server_config), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub(super) fn server_config_blocking(&self) -> Result<ServerConfig> {
        let server = self.server.get_or_init(|| self.needs.on(&self.wanted));
        let server = server.as_ref().map_err(Error::copy)?;
        Ok(if !server.can_have_realms() {
            server.clone()
        } else if self.has_own_server() {
            server.in_realm(self.source_digest.short(16))
        } else if self.recipe.has_bootstrap() {
            server.in_realm(self.bootstrap_digest.short(16))
        } else {
            server.clone()
        })
    }

    /// Remembers that this template changes what databases share.
    pub(super) fn want_own_server(&self) {
        self.has_own_server.store(true, Ordering::Release);
    }

    /// Whether it lives on a server of its own.
    pub(super) fn has_own_server(&self) -> bool {
        self.has_own_server.load(Ordering::Acquire)
    }
}
