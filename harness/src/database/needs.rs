//! The extensions that a template needs of its server.

use crate::error::{Attempt, ErrorKind, Result};
use crate::postgres::quoted;
use crate::script::Script;
use crate::server::ServerConfig;
use std::collections::BTreeMap;

/// Extensions by name, each with what asked for it first: the declaration, or a line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs(BTreeMap<String, String>);

impl Needs {
    /// Those that are declared, which the harness creates.
    pub(super) fn declared(names: &[String]) -> Needs {
        Needs(names.iter().map(|name| (name.clone(), "`extensions`".to_owned())).collect())
    }

    /// Adds those that a file of SQL creates itself.
    pub(super) fn add(&mut self, script: &Script) {
        for (name, line) in script.created_extensions() {
            // Part of every server.
            if name != "plpgsql" {
                self.0.entry(name).or_insert_with(|| format!("`{}`, line {line}", script.name()));
            }
        }
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who asked for them: "`vector` (`0001_items.sql`, line 1)".
    pub(crate) fn told(&self) -> String {
        let told = |(name, asked): (&String, &String)| format!("{} ({asked})", quoted(&[name]));
        self.0.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    /// The server that is asked for, from an installation that has them. Blocks, and downloads where that is needed and
    /// allowed.
    ///
    /// # Errors
    /// No installation has them all.
    pub(crate) fn on(&self, server: &ServerConfig) -> Result<ServerConfig> {
        server.with_extensions(&self.names()).attempt(ErrorKind::Environment, || self.unmet())
    }

    /// What cannot be met, for an error.
    pub(super) fn unmet(&self) -> String {
        format!("failed to find a server for a template that needs {}", self.told())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_needed_once_and_says_by_whom() {
        let mut needs = Needs::declared(&["hstore".to_owned()]);
        let text = "create table t ();\ncreate extension vector;\ncreate extension if not exists hstore;
            create extension plpgsql; do $$ begin create extension citext; end $$";
        needs.add(&Script::new("0001_items.sql", "0001_items.sql", text));
        assert_eq!(needs.names(), ["hstore", "vector"]);
        assert_eq!(needs.told(), "`hstore` (`extensions`), `vector` (`0001_items.sql`, line 2)");
        assert!(Needs::declared(&[]).is_empty());
    }
}
