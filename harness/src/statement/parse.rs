//! Reads `queries/*.sql`: a header of comments, then the statement.

use super::header::{Here, KEYS, budget, directive, is_known, parameter, setting};
use super::model::{Budget, SettingValue, Statement};
use super::placeholder::bind;
use crate::error::{Attempt, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads all statements of the `.sql` files in a folder, in the order of their names.
///
/// # Errors
/// The folder or a file cannot be read, a header is wrong, or a name appears twice; the error names file and
/// line.
pub fn read_dir(dir: &Path) -> Result<Vec<Statement>> {
    let reading = || format!("failed to read the folder `{}`", dir.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).attempt(ErrorKind::Usage, reading)? {
        let path = entry.attempt(ErrorKind::Usage, reading)?.path();
        if path.extension().is_some_and(|ending| ending == "sql") {
            files.push(path);
        }
    }
    files.sort();
    let mut statements: BTreeMap<String, Statement> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .attempt(ErrorKind::Usage, || format!("failed to read `{}`", file.display()))?;
        for statement in parse(&file, &text)? {
            if let Some(first) = statements.get(&statement.name) {
                return Err(Error::usage(format!(
                    "{}:{}: the name `{}` is taken by {}:{}",
                    file.display(),
                    statement.line,
                    statement.name,
                    first.file.display(),
                    first.line
                )));
            }
            statements.insert(statement.name.clone(), statement);
        }
    }
    Ok(statements.into_values().collect())
}

/// Reads the statements of one file; `file` is for messages.
///
/// # Errors
/// A header is wrong, or a statement has none; the error names file and line.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    let mut current: Option<Draft> = None;
    for (index, line) in text.lines().enumerate() {
        let here = Here { file, line: index + 1 };
        match directive(line) {
            Some(("name", value)) => {
                if let Some(draft) = current.take() {
                    statements.push(draft.finish(file)?);
                }
                current = Some(Draft::new(here.identifier("name", value)?, index + 1));
            }
            Some((key, value)) => match &mut current {
                Some(draft) if draft.body.is_empty() => draft.add(&here, key, value)?,
                // Within a statement only what would have meant something is worth stopping for.
                Some(_) if is_known(key) => {
                    let message = format!("`-- {key}:` comes after the statement's text");
                    return Err(here.error(message).with_help("move it into the header, under `-- name:`"));
                }
                Some(draft) => draft.push_line(index + 1, line),
                None if is_known(key) => {
                    return Err(here.error(format!("`-- {key}:` comes before `-- name:`")));
                }
                None => (),
            },
            None if line.trim().is_empty() || line.trim_start().starts_with("--") => match &mut current {
                // Comments of the header belong to nobody.
                Some(draft) if !draft.body.is_empty() => draft.push_line(index + 1, line),
                _ => (),
            },
            None => match &mut current {
                Some(draft) => draft.push_line(index + 1, line),
                None => {
                    return Err(here
                        .error("a statement without a name")
                        .with_help("put `-- name: …` above it"));
                }
            },
        }
    }
    if let Some(draft) = current {
        statements.push(draft.finish(file)?);
    }
    Ok(statements)
}

/// A statement whose text is still being read.
struct Draft {
    statement: Statement,
    body: String,
    /// The line of the text's first line.
    body_line: usize,
}

impl Draft {
    fn new(name: String, line: usize) -> Self {
        Draft {
            statement: Statement {
                name,
                role: None,
                settings: Vec::new(),
                parameters: Vec::new(),
                budget: Budget::default(),
                sql: String::new(),
                bound: Vec::new(),
                file: PathBuf::new(),
                line,
            },
            body: String::new(),
            body_line: line,
        }
    }

    fn push_line(&mut self, number: usize, line: &str) {
        if self.body.is_empty() {
            self.body_line = number;
        }
        self.body.push_str(line);
        self.body.push('\n');
    }

    fn add(&mut self, here: &Here<'_>, key: &str, value: &str) -> Result<()> {
        match key.split_once(' ').unwrap_or((key, "")) {
            ("role", "") if self.statement.role.is_some() => return Err(here.error("a second role")),
            ("role", "") if value.is_empty() => return Err(here.error("`-- role:` names no role")),
            ("role", "") => self.statement.role = Some(value.to_owned()),
            ("set", "") => self.statement.settings.push(setting(here, value)?),
            ("param", "") => return Err(here.error("a parameter has no name; write `-- param tenant: …`")),
            ("param", name) => {
                let parameter = parameter(here, here.identifier("name of a parameter", name)?, value)?;
                if self.statement.parameters.iter().any(|known| known.name == parameter.name) {
                    return Err(here.error(format!("a second parameter `{name}`")));
                }
                self.statement.parameters.push(parameter);
            }
            ("budget", "") => budget(here, value, &mut self.statement.budget)?,
            _ => {
                return Err(here.error(format!("unknown key `{key}`")).with_help(format!(
                    "known: {}; an ordinary comment starts with a capital",
                    KEYS.join(", ")
                )));
            }
        }
        Ok(())
    }

    fn finish(self, file: &Path) -> Result<Statement> {
        let mut statement = self.statement;
        let here = Here { file, line: statement.line };
        if self.body.trim().is_empty() {
            return Err(here.error(format!("`{}` has no statement", statement.name)));
        }
        let declared: Vec<&str> = statement.parameters.iter().map(|known| known.name.as_str()).collect();
        let bound = bind(&self.body, &declared).map_err(|trouble| {
            let line = self.body_line + self.body[..trouble.at].matches('\n').count();
            Here { file, line }.error(trouble.message)
        })?;
        let in_settings = |name: &str| {
            statement.settings.iter().any(|known| known.value == SettingValue::Parameter(name.to_owned()))
        };
        for setting in &statement.settings {
            if let SettingValue::Parameter(name) = &setting.value
                && !declared.contains(&name.as_str())
            {
                return Err(
                    here.error(format!("`{}` is set to the unknown parameter `:{name}`", setting.name))
                );
            }
        }
        if let Some(unused) =
            declared.iter().find(|name| !in_settings(name) && !bound.names.iter().any(|used| used == *name))
        {
            return Err(here.error(format!("the parameter `{unused}` of `{}` is not used", statement.name)));
        }
        (statement.sql, statement.bound, statement.file) = (bound.sql, bound.names, file.to_owned());
        Ok(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Origin;
    use super::*;
    use crate::ident::QualifiedName;
    use rstest::rstest;

    fn parsed(text: &str) -> Result<Vec<Statement>> {
        parse(Path::new("queries/a.sql"), text)
    }

    #[test]
    fn the_documented_example_is_read() {
        let text = "-- Hot paths of the web application.\n\
            -- name: list_executions\n-- role: web_app\n-- set: app.tenant_id = :tenant\n\
            -- param tenant: from identity.tenants.id\n\
            -- param since: timestamptz = now() - interval '7 days'\n\
            -- budget: blocks 40, rows_scanned_per_row 3\n\
            select *\n-- The last week.\nfrom executions where started_at > :since;\n\n\
            -- name: ping\nselect 1\n";
        let statements = parsed(text).unwrap();
        let [list, ping] = statements.as_slice() else { panic!("{statements:?}") };
        assert_eq!(
            (list.name.as_str(), list.role.as_deref(), list.line),
            ("list_executions", Some("web_app"), 2)
        );
        assert_eq!(list.settings[0].value, SettingValue::Parameter("tenant".into()));
        assert_eq!(
            list.parameters[0].origin,
            Origin::Column { table: QualifiedName::new("identity", "tenants"), column: "id".into() }
        );
        assert_eq!(
            list.parameters[1].origin,
            Origin::Expression { type_name: "timestamptz".into(), sql: "now() - interval '7 days'".into() }
        );
        assert_eq!((list.budget.blocks, list.budget.rows_scanned_per_row), (Some(40), Some(3.0)));
        assert_eq!(list.sql, "select *\n-- The last week.\nfrom executions where started_at > $1");
        assert_eq!(list.bound, ["since"]);
        assert_eq!((ping.sql.as_str(), ping.parameters.len()), ("select 1", 0));
    }

    #[rstest]
    #[case("select 1", "queries/a.sql:1: a statement without a name")]
    #[case("-- role: a\n-- name: b\nselect 1", "queries/a.sql:1: `-- role:` comes before `-- name:`")]
    #[case("-- name: a\n-- buget: blocks 1\nselect 1", "queries/a.sql:2: unknown key `buget`")]
    #[case(
        "-- name: a\nselect 1\n-- budget: blocks 1",
        "queries/a.sql:3: `-- budget:` comes after the statement's text"
    )]
    #[case(
        "-- name: a b\nselect 1",
        "queries/a.sql:1: `a b` cannot be the name: letters, digits and `_`, at most 63"
    )]
    #[case("-- name: a\n\n-- name: b\nselect 1", "queries/a.sql:1: `a` has no statement")]
    #[case("-- name: a\nselect 1,\n  :x", "queries/a.sql:3: unknown parameter `:x`; declared: there is none")]
    #[case(
        "-- name: a\n-- param x: int = 1\nselect 1",
        "queries/a.sql:1: the parameter `x` of `a` is not used"
    )]
    #[case("-- name: a\n-- param x: from t\nselect :x", "queries/a.sql:2: `from t` names no column")]
    #[case("-- name: a\n-- param x: int\nselect :x", "queries/a.sql:2: the parameter `x` has no origin")]
    #[case(
        "-- name: a\n-- set: b = :x\nselect 1",
        "queries/a.sql:1: `b` is set to the unknown parameter `:x`"
    )]
    #[case("-- name: a\n-- budget: blocks few\nselect 1", "queries/a.sql:2: `few` is no number of blocks")]
    #[case("-- name: a\n-- budget: pages 4\nselect 1", "queries/a.sql:2: unknown budget `pages`")]
    fn a_mistake_is_named_with_file_and_line(#[case] text: &str, #[case] message: &str) {
        assert_eq!(parsed(text).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_name_is_unique_in_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.sql"), "-- name: same\nselect 1").unwrap();
        std::fs::write(dir.path().join("b.sql"), "-- name: same\nselect 2").unwrap();
        let error = read_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("b.sql:1: the name `same` is taken by"), "{error}");
    }
}
