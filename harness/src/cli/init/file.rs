//! The file that is written, with a word on where each line is from.

use super::folder::Folder;
use super::growth::Growth;
use crate::check::spelling::quoted;

/// The file that creates roles which the migrations name and nobody creates.
pub(super) const ROLES_FILE: &str = "pgharness.roles.sql";

/// How long a line of a comment is.
const WIDTH: usize = 110;

/// The file in the making.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) text: String,
    /// What was found, a line each.
    pub(super) found: Vec<String>,
    /// What was not.
    pub(super) missing: Vec<String>,
}

impl File {
    /// What the folder shows, and what the migrations made, where that was tried.
    pub(super) fn of(folder: &Folder, growth: Option<&Growth>) -> File {
        let mut file = File::default();
        file.comment(
            "Written by `pgharness init`. Each line that is a guess says from what; what stands behind a `#` is for you \
             to decide. `pgharness explain` lists what is checked.",
        );
        file.postgres(folder, growth);
        file.migrations(folder, growth);
        file.fixtures(folder, growth);
        file.snapshot(folder);
        file.checks(folder);
        let schema = growth.and_then(|growth| growth.schema.as_ref());
        file.tenancy(schema);
        file.roles(schema);
        file.access(schema, growth.map(|growth| growth.matrix.as_str()).unwrap_or_default());
        file.structure(schema);
        if let Some(failure) = growth.and_then(|growth| growth.failure.as_ref()) {
            file.missing
                .push(format!("the schema: the migrations could not be applied ({})", reason(failure)));
        }
        if let Some(lacking) = growth.and_then(|growth| growth.lacking.as_ref()) {
            file.missing.push(lacking.told());
        }
        file
    }

    /// Adds a comment, in lines of a readable length.
    pub(super) fn comment(&mut self, text: &str) {
        for paragraph in text.lines() {
            let mut line = String::from("#");
            for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
                if line.len() + word.len() >= WIDTH && line.len() > 1 {
                    self.line(&line);
                    line = String::from("#");
                }
                line.push(' ');
                line.push_str(word);
            }
            self.line(line.trim_end());
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    pub(super) fn section(&mut self, name: &str) {
        self.text.push('\n');
        self.line(&format!("[{name}]"));
    }

    /// A line that holds, and where it is from.
    pub(super) fn value(&mut self, from: &str, key: &str, value: &str) {
        self.comment(from);
        self.line(&format!("{key} = {value}"));
    }

    /// A line for the reader to decide, and why it is there.
    pub(super) fn idea(&mut self, why: &str, key: &str, value: &str) {
        self.comment(why);
        self.line(&format!("# {key} = {value}"));
    }
}

/// Strings of TOML.
pub(super) fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What a report says first, and for what cause.
fn reason(report: &str) -> String {
    let mut lines = report.lines();
    let first = lines.next().unwrap_or_default();
    match lines.find_map(|line| line.trim_start().strip_prefix("caused by: ")) {
        Some(cause) => format!("{first}: {cause}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_first_line_and_its_cause() {
        assert_eq!(reason("a\n  caused by: b: c\n    --> f:1\n  caused by: d"), "a: b: c");
        assert_eq!(reason("a\n  help: b"), "a");
    }

    #[test]
    fn nothing_is_found_in_nothing_and_the_file_can_be_read() {
        let file = File::of(&Folder::default(), None);
        assert_eq!(file.found, [""; 0]);
        assert!(file.missing.iter().any(|line| line.starts_with("migrations")), "{:?}", file.missing);
        let text = file.text;
        crate::suite::Config::read(std::path::Path::new("pgharness.toml"), &text).unwrap();
        assert!(text.lines().all(|line| line.len() <= WIDTH + 40), "{text}");
    }
}
