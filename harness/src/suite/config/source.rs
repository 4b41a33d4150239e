//! The text of the file, and where in it things stand.

use crate::check::nearest;
use crate::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

impl Step {
    pub(super) fn key(name: &str) -> Self {
        Step::Key(name.to_owned())
    }
}

/// The text of the file, and where it came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    dir: PathBuf,
    file: Option<PathBuf>,
    text: String,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Source { dir: PathBuf::new(), file: Some(file.to_owned()), text: text.to_owned() }
    }

    pub(super) fn set_dir(&mut self, dir: &Path) {
        self.dir = dir.to_owned();
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What to say when the file could not be read into a [`Config`](super::Config).
    pub(super) fn refused(&self, error: &toml::de::Error) -> Error {
        let at = error.span().map_or(0, |span| span.start);
        let place = self.line_at(at);
        let path = self.path_at(at);
        let message = error.message();

        if let Some((name, known)) = unknown(message, "unknown field `") {
            let mut help = String::new();
            let parent = path.split_last().map_or(&[] as &[Step], |(_, parent)| parent);
            if let [meant, ..] = nearest(name, known.iter().copied())[..] {
                help.push_str(&format!("did you mean `{meant}`? "));
            }
            help.push_str(&match parent {
                [] => "known keys: ".to_owned(),
                _ => format!("known keys of `{}`: ", spelled(parent)),
            });
            help.push_str(&list(&known));
            let key = [parent, &[Step::key(name)]].concat();
            return Error::usage(format!("{place}: unknown key `{}`", spelled(&key))).with_help(help);
        }
        let message = message.trim().replace('\n', ": ");
        let key = error.span().and_then(|span| self.text.get(span)).filter(|_| message == "duplicate key");
        let (message, help) = match unknown(&message, "unknown variant `") {
            Some((name, known)) => {
                (format!("unknown value `{name}`"), Some(format!("known values: {}", list(&known))))
            }
            None if let Some(key) = key => (format!("duplicate key `{key}`"), None),
            // The one key of which people ask why it is needed.
            None if message == "missing field `reason`" => {
                ("missing key `reason`".into(), Some("say why this finding is accepted".into()))
            }
            None => (
                message
                    .replace("missing field `", "missing key `")
                    .replace("expected u32", "expected a whole number of 0 or more"),
                None,
            ),
        };
        let error = Error::usage(match path[..] {
            [] => format!("{place}: {message}"),
            _ => format!("{place}, `{}`: {message}", spelled(&path)),
        });
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }

    /// An error about the value at `path`.
    pub(super) fn error_at(&self, path: &[Step], message: &str) -> Error {
        Error::usage(format!("{}, `{}`: {message}", self.place(path), spelled(path)))
    }

    /// File and line of the value at `path`, or of the nearest thing around it that is there.
    pub(super) fn place(&self, path: &[Step]) -> String {
        self.line_at(find(&self.table(), path).map_or(0, |span| span.start))
    }

    fn line_at(&self, offset: usize) -> String {
        let line = 1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        match &self.file {
            Some(file) => format!("`{}` line {line}", file.display()),
            None => "the default configuration".into(),
        }
    }

    /// As much of the file as is TOML.
    fn table(&self) -> DeTable<'_> {
        DeTable::parse_recoverable(&self.text).0.into_inner()
    }

    /// The innermost value, or key, that `offset` lies in.
    fn path_at(&self, offset: usize) -> Vec<Step> {
        let mut found = Vec::new();
        innermost(&self.table(), offset, &mut Vec::new(), &mut found);
        found
    }
}

fn find(table: &DeTable<'_>, path: &[Step]) -> Option<Range<usize>> {
    let [Step::Key(name), rest @ ..] = path else { return None };
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
    Some(within(value, rest).unwrap_or_else(|| if rest.is_empty() { value.span() } else { key.span() }))
}

fn within(value: &Spanned<DeValue<'_>>, path: &[Step]) -> Option<Range<usize>> {
    match (value.get_ref(), path) {
        (_, []) => Some(value.span()),
        (DeValue::Table(table), _) => find(table, path),
        (DeValue::Array(items), [Step::Item(number), rest @ ..]) => {
            let item = items.get(*number)?;
            within(item, rest).or_else(|| Some(item.span()))
        }
        _ => None,
    }
}

/// A table's own span is its header or its braces, so that values are looked for in every table.
fn innermost(table: &DeTable<'_>, offset: usize, path: &mut Vec<Step>, found: &mut Vec<Step>) {
    for (key, value) in table.iter() {
        path.push(Step::key(key.get_ref()));
        if key.span().contains(&offset) && path.len() > found.len() {
            found.clone_from(path);
        }
        innermost_value(value, offset, path, found);
        path.pop();
    }
}

fn innermost_value(value: &Spanned<DeValue<'_>>, offset: usize, path: &mut Vec<Step>, found: &mut Vec<Step>) {
    if value.span().contains(&offset) && path.len() > found.len() {
        found.clone_from(path);
    }
    match value.get_ref() {
        DeValue::Table(table) => innermost(table, offset, path, found),
        DeValue::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                path.push(Step::Item(number));
                innermost_value(item, offset, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// A path as TOML writes keys, with items counted from one: `roles.web_app.password`, `allow[2].reason`.
fn spelled(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Item(number) => text.push_str(&format!("[{}]", number + 1)),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                let is_bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
                text.push_str(&if is_bare && !key.is_empty() { key.clone() } else { format!("{key:?}") });
            }
        }
    }
    text
}

/// The name and the known names of serde's "unknown … `x`, expected one of `a`, `b`", which it keeps in no
/// other form.
fn unknown<'a>(message: &'a str, start: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let (name, rest) = message.strip_prefix(start)?.split_once("`, ")?;
    Some((name, rest.split('`').skip(1).step_by(2).collect()))
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
