//! One step of a schema's history: a migration.

use crate::digest::Hasher;
use crate::script::Script;
use std::fmt;
use std::path::Path;

/// What tells a migration from all others of its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A number.
    Number(i64),
    /// A name.
    Name(String),
}

/// As the history has it.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Number(number) => number.fmt(f),
            Version::Name(name) => f.write_str(name),
        }
    }
}

/// When a migration is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Turn {
    /// In its place: not after one that comes behind it.
    InOrder,
    /// In its place, or after one that comes behind it.
    Late,
    /// After all others, and again whenever its file is changed.
    Repeatable,
}

/// How the text of a migration goes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// In one transaction, together with its row in the history.
    Transaction,
    /// Statement by statement, each in a transaction of its own; its row is written after the last.
    Statements,
    /// As one message, of which the server makes one transaction, unless it is a single statement that cannot run
    /// in one; its row is written after it.
    Message,
}

/// As people say it.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::Transaction => "in a transaction",
            Delivery::Statements => "statement by statement",
            Delivery::Message => "as one message",
        })
    }
}

/// One step of a schema's history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Its version.
    pub version: Version,
    /// What it does.
    pub script: Script,
    /// The words of its name, as the history of the format's tool has them.
    pub description: String,
    /// The checksum of its file, as that history has it; `None` where the tool keeps none.
    pub checksum: Option<String>,
    /// How it is sent.
    pub delivery: Delivery,
    /// When it is applied.
    pub turn: Turn,
    /// What undoes it.
    pub down: Option<Script>,
    /// What its comments say to the harness: `phase contract` of a line `-- pgharness:phase contract`.
    pub tags: Vec<String>,
}

impl Migration {
    /// A migration that runs in a transaction, of a tool that keeps no checksums.
    pub(super) fn new(version: Version, description: impl Into<String>, script: Script) -> Self {
        let tags = comments(script.text())
            .filter_map(|comment| comment.strip_prefix("pgharness:"))
            .map(|tag| tag.trim().to_owned())
            .collect();
        Migration {
            version,
            script,
            description: description.into(),
            checksum: None,
            delivery: Delivery::Transaction,
            turn: Turn::InOrder,
            down: None,
            tags,
        }
    }

    /// The name of its file.
    pub fn name(&self) -> &str {
        self.script.name()
    }

    /// Where its file is.
    pub fn path(&self) -> &Path {
        self.script.path()
    }

    /// Its SQL.
    pub fn sql(&self) -> &str {
        self.script.text()
    }

    /// What tells whether its file was edited: the checksum that its tool keeps; of a tool that keeps none, the SHA-256
    /// of its statements, without what stands between them.
    pub fn fingerprint(&self) -> String {
        self.checksum.clone().unwrap_or_else(|| {
            let statements = self.script.statements();
            let each = statements.iter().map(|one| one.text.replace("\r\n", "\n"));
            each.fold(Hasher::new("migration"), |hasher, text| hasher.field("statement", text))
                .finish()
                .to_string()
        })
    }

    /// Whether a line of it is the comment `tag`, such as `-- pgharness:phase contract`.
    pub fn has_comment(&self, tag: &str) -> bool {
        let tag = tag.trim().trim_start_matches("--").trim();
        comments(self.sql()).any(|comment| comment == tag)
    }
}

/// The lines of a text that are comments, without the dashes, trimmed.
fn comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("--")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(text: &str) -> Migration {
        Migration::new(Version::Number(1), "a", Script::new("a.sql", "a.sql", text))
    }

    #[test]
    fn of_a_tool_that_keeps_no_checksum_the_statements_count() {
        let print = |text| migration(text).fingerprint();
        let one = print("create table a ();\nselect 1;\n");
        assert_eq!(one, print("-- Why.\r\ncreate table a ();\r\n\r\nselect 1;"));
        assert_ne!(one, print("create table a ();\nselect 2;\n"));
        assert_ne!(one, print("create table a (); select 1; select 1;"));
        let kept = Migration { checksum: Some("42".into()), ..migration("select 1;") };
        assert_eq!(kept.fingerprint(), "42");
    }

    #[test]
    fn tags_are_read_from_comments() {
        let migration =
            migration("-- pgharness:phase contract\nselect 1; -- not this\n  --pgharness: slow \n");
        assert_eq!(migration.tags, ["phase contract", "slow"]);
        assert!(migration.has_comment("-- pgharness:phase contract"));
        assert!(!migration.has_comment("-- pgharness:phase"));
        assert!(!migration.has_comment("not this"));
    }
}
