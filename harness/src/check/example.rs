//! The examples of a check: its tests, and what `explain` prints.

/// Whether an example breaks the property or satisfies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The check finds fault with it.
    Bad,
    /// The check says nothing of it.
    Good,
    /// It is no schema, but what `pgharness.toml` says of all of them.
    Config,
}

/// A file of `fixtures/checks/<id>/`.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The name of the file: `bad.sql`, `good_partitioned.sql`.
    pub file: &'static str,
    /// What is in it.
    pub sql: &'static str,
}

impl Example {
    /// Which kind it is, by its name; a name that says neither counts as bad, so that no check's test passes
    /// because of it.
    pub fn kind(&self) -> Kind {
        if self.file.ends_with(".toml") {
            Kind::Config
        } else if self.file.starts_with("good") {
            Kind::Good
        } else {
            Kind::Bad
        }
    }

    /// The files of a project that it stands for: path within the project, and text.
    ///
    /// A line `-- file: name` begins a file, which lies in the migrations folder where the name has no folder of
    /// its own (`./schema.snapshot` lies in the project's). `-- bootstrap:` begins `bootstrap.sql`, and
    /// `-- pgharness.toml:` the configuration, in place of that of the example's folder. What stands before the
    /// first such line is a migration; comments alone are not.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = vec![(FIRST.into(), String::new())];
        for line in self.sql.split_inclusive('\n') {
            match beginning(line.trim_end()) {
                Some(path) => files.push((path, String::new())),
                None => {
                    if let Some((_, text)) = files.last_mut() {
                        text.push_str(line);
                    }
                }
            }
        }
        files.retain(|(path, text)| path != FIRST || text.lines().any(is_statement));
        files
    }
}

/// Where statements go that stand before the first mark.
const FIRST: &str = "migrations/0001_example.sql";

/// The path of the file that a line begins.
fn beginning(line: &str) -> Option<String> {
    match line {
        "-- bootstrap:" => Some("bootstrap.sql".into()),
        "-- pgharness.toml:" => Some("pgharness.toml".into()),
        _ => {
            let name = line.strip_prefix("-- file: ")?;
            Some(match name.strip_prefix("./") {
                Some(inside) => inside.to_owned(),
                None if name.contains('/') => name.to_owned(),
                None => format!("migrations/{name}"),
            })
        }
    }
}

fn is_statement(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with("--")
}

/// The named files of `fixtures/checks/<id>/`, compiled in.
///
/// `harness/fixtures/checks` is a link to the repository's folder, which packaging follows: the published crate
/// holds the files themselves.
#[macro_export]
#[doc(hidden)]
macro_rules! examples {
    ($id:literal: $($file:literal),+ $(,)?) => {
        &[$($crate::check::Example {
            file: $file,
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/checks/", $id, "/", $file)),
        }),+]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sql: &'static str) -> Vec<(String, String)> {
        Example { file: "bad.sql", sql }.files()
    }

    #[test]
    fn an_example_is_one_migration_or_several_files() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        assert_eq!(files("-- Why.\nselect 1;\n"), [file(FIRST, "-- Why.\nselect 1;\n")]);
        assert_eq!(
            files(
                "-- Why.\n\n-- file: 1_a.sql\nselect 1;\n-- file: ./x\n  y\n-- bootstrap:\ncreate role r;\n"
            ),
            [
                file("migrations/1_a.sql", "select 1;\n"),
                file("x", "  y\n"),
                file("bootstrap.sql", "create role r;\n"),
            ]
        );
    }
}
