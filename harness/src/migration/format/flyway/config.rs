//! What Flyway's own configuration says: of the project, and of one script.

use super::Listing;
use crate::error::{Attempt, ErrorKind, Result};
use crate::script::{Purpose, Script};
use std::collections::BTreeMap;
use std::path::Path;

/// Files that lie around a folder of Flyway's.
pub(super) const AROUND: &[&str] =
    &["flyway.toml", "flyway.conf", "pom.xml", "build.gradle", "build.gradle.kts"];

/// The parts of `flyway.conf` or `flyway.toml` that say what a migration is.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) table: Option<String>,
    /// Whether placeholders are replaced.
    pub(super) replaces: bool,
    placeholders: BTreeMap<String, String>,
}

impl Config {
    /// Reads the file that lies around the folder, if one does.
    pub(super) fn around(listing: &Listing) -> Result<Config> {
        let mut config = Config { table: None, replaces: true, placeholders: BTreeMap::new() };
        let Some(path) = listing.nearest(&["flyway.toml", "flyway.conf"]) else { return Ok(config) };
        let text = read(&path)?;
        let settings = if path.extension().is_some_and(|ending| ending == "toml") {
            let table: toml::Table = toml::from_str(&text).attempt(ErrorKind::Usage, || failed(&path))?;
            let mut settings = Vec::new();
            flatten("", &table, &mut settings);
            settings
        } else {
            properties(&text)
        };
        for (key, value) in settings {
            match key.strip_prefix("flyway.").unwrap_or(&key) {
                "table" => config.table = Some(value),
                "placeholderReplacement" => config.replaces = value != "false",
                other => {
                    if let Some(name) = other.strip_prefix("placeholders.") {
                        config.placeholders.insert(name.to_lowercase(), value);
                    }
                }
            }
        }
        Ok(config)
    }

    /// The script with the values of its placeholders.
    ///
    /// # Errors
    /// One has no value; the error shows the place.
    pub(super) fn replace(&self, script: &Script) -> Result<Script> {
        let (mut text, mut rest, mut at) = (String::new(), script.text(), 0);
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else { break };
            let place = at + before.len();
            let value = match name {
                "flyway:filename" => Some(script.name().rsplit('/').next().unwrap_or_default()),
                _ => self.placeholders.get(&name.to_lowercase()).map(String::as_str),
            };
            let Some(value) = value else {
                return Err(script.refuse(
                    Purpose::Migration,
                    place,
                    &format!("has the placeholder `${{{name}}}`, for which no value is known"),
                    "write `flyway.placeholders.NAME=value` into the `flyway.conf` beside the folder",
                ));
            };
            text.push_str(before);
            text.push_str(value);
            at = place + "${".len() + name.len() + "}".len();
            rest = behind;
        }
        text.push_str(rest);
        Ok(script.with_text(text))
    }
}

/// What the file `<script>.conf` says.
#[derive(Debug)]
pub(super) struct ScriptConfig {
    pub(super) in_transaction: bool,
    pub(super) replaces: bool,
}

impl ScriptConfig {
    /// Reads the file beside `script`; a comment `-- flyway:executeInTransaction=false` at its top says the same.
    pub(super) fn beside(listing: &Listing, script: &Script) -> Result<ScriptConfig> {
        let mut config = ScriptConfig { in_transaction: true, replaces: true };
        let mut settings: Vec<(String, String)> =
            script.header().filter_map(|line| line.strip_prefix("flyway:")).flat_map(properties).collect();
        let name = format!("{}.conf", script.name());
        if listing.has(&name) {
            settings.extend(properties(&read(&listing.path(&name))?));
        }
        for (key, value) in settings {
            match key.as_str() {
                "executeInTransaction" => config.in_transaction = value != "false",
                "placeholderReplacement" => config.replaces = value != "false",
                _ => {}
            }
        }
        Ok(config)
    }
}

fn failed(path: &Path) -> String {
    format!("failed to read the configuration `{}` of flyway", path.display())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).attempt(ErrorKind::Usage, || failed(path))
}

/// The lines `key=value` of a text.
fn properties(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// The values of a table by their whole keys.
fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, found),
            toml::Value::String(text) => found.push((key, text.clone())),
            other => found.push((key, other.to_string())),
        }
    }
}
