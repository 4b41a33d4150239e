//! What a template is made of, read from its files.
use crate::digest::{Digest, Hasher};
use crate::error::{Attempt, ErrorKind, Result};
use crate::server::{Server, ServerConfig};
use sqlx::{AssertSqlSafe, Executor};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default)]
pub(super) struct Ingredients {
    pub(super) migrations: Option<PathBuf>,
    pub(super) migration_command: Option<String>,
    pub(super) migration_format: crate::migration::Format,
    pub(super) history: Option<String>,
    pub(super) migrator_role: Option<String>,
    pub(super) fixtures: Vec<String>,
    pub(super) bootstrap: Vec<PathBuf>,
    pub(super) extensions: Vec<String>,
}

/// TEMP
#[derive(Debug)]
pub struct Recipe {
    bootstrap: Vec<String>,
    scripts: Vec<String>,
    migrations: Vec<(String, String)>,
}
impl Recipe {
    pub(super) fn read(root: &Path, i: &Ingredients) -> Result<Recipe> {
        let read = |p: &Path| {
            std::fs::read_to_string(p)
                .attempt(ErrorKind::Fixture, || format!("failed to read `{}`", p.display()))
        };
        let bootstrap = i.bootstrap.iter().map(|p| read(&root.join(p))).collect::<Result<Vec<_>>>()?;
        let mut migrations = vec![];
        if let Some(d) = &i.migrations {
            let mut v: Vec<_> = std::fs::read_dir(root.join(d))
                .unwrap()
                .map(|e| e.unwrap().path())
                .filter(|p| p.extension().is_some_and(|e| e == "sql"))
                .collect();
            v.sort();
            for p in v {
                migrations.push((p.display().to_string(), read(&p)?));
            }
        }
        let scripts = i.fixtures.iter().map(|p| read(&root.join(p))).collect::<Result<Vec<_>>>()?;
        Ok(Recipe { bootstrap, scripts, migrations })
    }
    pub(super) fn digest(&self, server: &ServerConfig) -> Result<Digest> {
        Ok(Hasher::new("t")
            .field("a", format!("{self:?}"))
            .field("s", server.settings.digest().bytes())
            .finish())
    }
    pub(super) fn has_bootstrap(&self) -> bool {
        !self.bootstrap.is_empty()
    }
    pub(super) async fn cook(&self, server: &Server, db: &str) -> Result<()> {
        let mut c = server.connect(db).await?;
        for s in self.bootstrap.iter().chain(self.migrations.iter().map(|m| &m.1)).chain(&self.scripts) {
            c.execute(AssertSqlSafe(s.clone())).await?;
        }
        Ok(())
    }
}
