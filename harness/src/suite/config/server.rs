//! From what the file says to the server that is used.

use super::{Backend, Config};
use crate::error::Result;
use crate::secret::Secret;
use crate::server::{ServerConfig, Wish};

impl Config {
    /// The server that the environment says, or else the file.
    ///
    /// # Errors
    /// A value of the environment cannot be, or the variable that `postgres.url` names is not set.
    pub fn server(&self) -> Result<ServerConfig> {
        let postgres = &self.postgres;
        let backend = postgres.backend.map(|backend| match backend {
            Backend::Embedded => "embedded",
            Backend::Container => "container",
            Backend::External => "external",
        });
        let mut wish = Wish {
            backend: backend.map(str::to_owned),
            version: postgres.version.clone(),
            image: postgres.image.clone(),
            url: None,
            connections_max: Some(postgres.connections_max),
        };
        // Nobody needs the variable of a URL that is not used.
        if wish.needs_url() {
            wish.url = self.url()?.map(Secret::new);
        }
        ServerConfig::resolve(self.dir(), wish)
    }
}
