//! A file of SQL, read and looked through before it runs.

use super::failure::{Purpose, refused};
use super::place::Place;
#[cfg(feature = "checks")]
use super::place::hide_passwords;
use super::statements::{Effect, Statement, beginning, split};
use crate::digest::Digest;
use crate::error::{Attempt, Error, Result};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file of SQL.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    name: String,
    path: PathBuf,
    text: String,
    had_bom: bool,
    /// Whether the text is all of the file's.
    is_whole: bool,
}

impl Script {
    /// Reads the file at `path`; `name` is how messages and digests call it.
    ///
    /// # Errors
    /// It cannot be read, it is not UTF-8, or it holds a zero byte, which SQL cannot.
    pub(crate) fn read(path: &Path, name: impl Into<String>, purpose: Purpose) -> Result<Script> {
        let shown = path.display();
        let bytes =
            std::fs::read(path).attempt(purpose.kind(), || format!("failed to read {purpose} `{shown}`"))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::new(purpose.kind(), format!("{purpose} `{shown}` is not UTF-8 at line {line}"))
                .with_help("save the file as UTF-8")
        })?;
        Script::checked(name, path, &text, purpose)
    }

    /// A script from the text of the file at `path`, which somebody read before.
    ///
    /// # Errors
    /// It holds a zero byte.
    pub(crate) fn checked(
        name: impl Into<String>,
        path: &Path,
        text: &str,
        purpose: Purpose,
    ) -> Result<Script> {
        let script = Script::new(name, path, text);
        match script.text.find('\0') {
            None => Ok(script),
            Some(at) => Err(script.refuse(purpose, at, "holds a zero byte", "remove it")),
        }
    }

    /// A script from a text that stands for the file at `path`.
    pub(crate) fn new(name: impl Into<String>, path: impl Into<PathBuf>, text: &str) -> Script {
        let without = text.strip_prefix('\u{feff}');
        Script {
            name: name.into(),
            path: path.into(),
            text: without.unwrap_or(text).to_owned(),
            had_bom: without.is_some(),
            is_whole: true,
        }
    }

    /// How messages call it: the file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its text as the file has it, with a byte order mark if that has one.
    pub(crate) fn raw(&self) -> String {
        if self.had_bom { format!("\u{feff}{}", self.text) } else { self.text.clone() }
    }

    /// The same file of which only the bytes in `parts` are run: the rest is blanked out, so that places in it stay
    /// what they are.
    pub(crate) fn keeping(&self, parts: impl IntoIterator<Item = Range<usize>>) -> Script {
        let mut text = String::with_capacity(self.text.len());
        let mut end = 0;
        for part in parts {
            text.push_str(&blank(&self.text[end..part.start]));
            end = part.end;
            text.push_str(&self.text[part]);
        }
        text.push_str(&blank(&self.text[end..]));
        self.with_text(text)
    }

    /// The same file with another text: what becomes of its placeholders.
    pub(crate) fn with_text(&self, text: String) -> Script {
        Script { is_whole: self.is_whole && text == self.text, text, ..self.clone() }
    }

    /// Whether the file as it is does the same: it holds nothing that is not run, and no placeholders.
    #[cfg(feature = "checks")]
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Its statements for people to run, one below the other, without passwords.
    #[cfg(feature = "checks")]
    pub(crate) fn shown(&self) -> String {
        let statements: Vec<String> =
            self.statements().iter().map(|statement| format!("{};", statement.text)).collect();
        statements.join("\n").lines().map(hide_passwords).collect::<Vec<_>>().join("\n")
    }

    /// Whether the file began with a byte order mark.
    pub fn had_bom(&self) -> bool {
        self.had_bom
    }

    /// The SHA-256 of its text with plain line ends and without a byte order mark, so that a checkout on
    /// another system gives the same. For a file that has neither it is what `sha256sum` prints.
    pub fn checksum(&self) -> Digest {
        Digest::of(self.text.replace("\r\n", "\n"))
    }

    /// Its statements.
    pub fn statements(&self) -> Vec<Statement<'_>> {
        split(&self.text)
    }

    /// The extensions that its statements create, each with the line of its statement. What a `DO` block does is
    /// not known before it runs.
    pub(crate) fn created_extensions(&self) -> Vec<(String, usize)> {
        // Most files have none, and need not be split for that.
        if !self.text.as_bytes().windows(9).any(|word| word.eq_ignore_ascii_case(b"extension")) {
            return Vec::new();
        }
        let line = |statement: &Statement<'_>| Place::of_byte(&self.text, statement.offset).line;
        let statements = self.statements().into_iter();
        statements.filter_map(|statement| Some((statement.created_extension()?, line(&statement)))).collect()
    }

    /// Its comment lines before the first statement, without the dashes, trimmed.
    pub(crate) fn header(&self) -> impl Iterator<Item = &str> {
        self.text[..beginning(&self.text)]
            .lines()
            .filter_map(|line| line.trim().strip_prefix("--"))
            .map(str::trim)
    }

    /// What to send in order to run it within a transaction of ours: its text, in which a `BEGIN … COMMIT`
    /// around everything is blanked out, since ours does the same. Places in it stay what they are.
    ///
    /// # Errors
    /// It begins or ends transactions in any other way, or holds what only psql can run.
    pub(super) fn for_one_transaction(&self, purpose: Purpose) -> Result<String> {
        let mut text = self.text.clone();
        let mut statements = self.statements();
        self.refuse_streams(&statements, purpose)?;
        if let [first, .., last] = statements.as_slice()
            && (first.effect(), last.effect()) == (Effect::Begin, Effect::Commit)
        {
            for own in [first, last] {
                text.replace_range(own.offset..own.offset + own.text.len(), &blank(own.text));
            }
            statements.remove(0);
            statements.pop();
        }
        let controls = |statement: &&Statement<'_>| {
            matches!(statement.effect(), Effect::Begin | Effect::Commit | Effect::Control)
        };
        match statements.iter().find(controls) {
            None => Ok(text),
            Some(statement) => Err(self.refuse(
                purpose,
                statement.offset,
                "begins or ends transactions of its own",
                match purpose {
                    Purpose::Migration => {
                        "a migration runs in one transaction together with its row in the history: leave \
                         transactions to the runner, split the file, or put `-- no-transaction` on its first line"
                    }
                    Purpose::Fixture => "a fixture runs in one transaction: leave it to the harness, or split the file",
                },
            )),
        }
    }

    /// Its statements to be sent one by one, outside a transaction of ours.
    ///
    /// # Errors
    /// It holds what only psql can run.
    pub(super) fn one_by_one(&self, purpose: Purpose) -> Result<Vec<Statement<'_>>> {
        let statements = self.statements();
        self.refuse_streams(&statements, purpose)?;
        Ok(statements)
    }

    fn refuse_streams(&self, statements: &[Statement<'_>], purpose: Purpose) -> Result<()> {
        for statement in statements {
            let (what, help) = match statement.effect() {
                Effect::CopyStream => (
                    "copies rows over the connection, as only psql can",
                    "write the rows as `INSERT` (`pg_dump --inserts` does), or load them with a command",
                ),
                Effect::PsqlCommand => (
                    "holds a command of psql, which is no SQL",
                    "remove the line, or run the file by psql with a command",
                ),
                _ => continue,
            };
            return Err(self.refuse(purpose, statement.offset, what, help));
        }
        Ok(())
    }

    /// Says that it cannot be run, and shows byte `offset`.
    pub(crate) fn refuse(&self, purpose: Purpose, offset: usize, what: &str, help: &str) -> Error {
        refused(self, purpose, Some(Place::of_byte(&self.text, offset)), what).with_help(help)
    }
}

/// As many bytes, spaces in place of all but the ends of lines.
fn blank(text: &str) -> String {
    text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { char::from(byte) } else { ' ' }).collect()
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn script(text: &str) -> Script {
        Script::new("a.sql", "dir/a.sql", text)
    }

    proptest! {
        #[test]
        fn line_ends_and_a_mark_leave_the_checksum(lines in prop::collection::vec("[^\r\n]{0,12}", 0..6), bom: bool) {
            let unix = lines.join("\n");
            let windows = format!("{}{}", if bom { "\u{feff}" } else { "" }, lines.join("\r\n"));
            prop_assume!(!unix.starts_with('\u{feff}'));
            prop_assert_eq!(script(&unix).checksum(), script(&windows).checksum());
        }

        #[test]
        fn any_other_difference_changes_it(a in "[a-z \n]{0,12}", b in "[a-z \n]{0,12}") {
            prop_assert_eq!(a == b, script(&a).checksum() == script(&b).checksum());
        }
    }

    #[test]
    fn a_transaction_around_everything_is_ours() {
        let sent =
            script("-- x\nBEGIN;\nselect 1;\nCOMMIT;\n").for_one_transaction(Purpose::Migration).unwrap();
        assert_eq!(sent, "-- x\n     ;\nselect 1;\n      ;\n");
    }

    #[test]
    fn what_is_kept_stays_where_it_is() {
        let file = script("-- é\nselect 1;\n-- b\nselect 2;\n");
        let kept = file.keeping(std::iter::once(6..15));
        assert_eq!(kept.text(), "     \nselect 1;\n    \n         \n");
        assert_eq!(kept.text().len(), file.text().len());
    }

    #[cfg(feature = "checks")]
    #[test]
    fn what_is_run_is_shown_without_passwords() {
        let file = script("create role a\n  password 'b';\nselect 1; -- c\n");
        let (all, first) = (0..file.text().len(), 0..30);
        assert!(file.keeping([all]).is_whole() && !file.keeping([first]).is_whole());
        assert_eq!(file.shown(), "create role a\n  password '*';\nselect 1;");
    }

    #[test]
    fn a_transaction_inside_is_refused() {
        let error =
            script("select 1;\ncommit;\nselect 2;").for_one_transaction(Purpose::Migration).unwrap_err();
        assert_eq!(
            error.to_string(),
            "migration `a.sql` begins or ends transactions of its own\n   --> dir/a.sql:2:1\n    |\n  2 | commit;\n    | ^"
        );
    }

    #[test]
    fn a_stream_of_rows_is_refused_by_line() {
        let text = "insert into a values (1);\ncopy a (x) from stdin;\n1\n\\.\n";
        let error = script(text).for_one_transaction(Purpose::Fixture).unwrap_err();
        assert!(error.to_string().contains("dir/a.sql:2:1"), "{error}");
        assert!(error.help().unwrap().contains("--inserts"), "{error:?}");
        let dump =
            script("--\n-- dump\n--\n\\restrict abc\nselect 1;").one_by_one(Purpose::Fixture).unwrap_err();
        assert!(
            dump.to_string().contains("a command of psql") && dump.to_string().contains(":4:1"),
            "{dump}"
        );
    }

    #[test]
    fn the_header_ends_with_the_first_statement() {
        let script = script("-- licence\n\n-- no-transaction\nselect 1;\n-- later\n");
        assert_eq!(script.header().collect::<Vec<_>>(), ["licence", "no-transaction"]);
    }
}
