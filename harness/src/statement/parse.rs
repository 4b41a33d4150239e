//! Reads `queries/*.sql`: a header of comments, then the statement.

use super::placeholder::bind;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::QualifiedName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The keys of a header.
const KEYS: &[&str] = &["name", "role", "set", "param", "budget"];

/// A statement with a name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statement {
    /// Its name, unique within a folder.
    pub name: String,
    /// The role that runs it; the superuser or owner where none is named.
    pub role: Option<String>,
    /// What is set for its transaction.
    pub settings: Vec<Setting>,
    /// Its parameters, in the order of the header.
    pub parameters: Vec<Parameter>,
    /// What it may cost.
    pub budget: Budget,
    /// Its text, parameters as `$1`, `$2`, …
    pub sql: String,
    /// The names of `$1`, `$2`, …
    pub bound: Vec<String>,
    /// The file it comes from.
    pub file: PathBuf,
    /// The line of its name.
    pub line: usize,
}

/// A setting of the statement's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: `app.tenant_id`.
    pub name: String,
    /// Its value.
    pub value: SettingValue,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// That of the parameter of this name.
    Parameter(String),
    /// This text.
    Literal(String),
}

/// A parameter and where its values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, without the colon.
    pub name: String,
    /// Where its values come from.
    pub origin: Origin,
}

/// Where a parameter's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Any value that this column holds.
    Column {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// An expression, evaluated once.
    Expression {
        /// The parameter's type.
        type_name: String,
        /// The expression.
        sql: String,
    },
}

/// What a statement may cost; what is not named is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Budget {
    /// Blocks of tables and indexes touched, in the cache or not.
    pub blocks: Option<u64>,
    /// Blocks of temporary files.
    pub temp_blocks: Option<u64>,
    /// Rows returned.
    pub rows: Option<u64>,
    /// Rows read from tables for each row returned.
    pub rows_scanned_per_row: Option<f64>,
}

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

fn is_known(key: &str) -> bool {
    KEYS.contains(&key.split(' ').next().unwrap_or_default())
}

/// `-- key: value` or `-- key word: value`, the key in lower case; anything else is an ordinary comment.
fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("-- ")?.split_once(':')?;
    let is_key = key.split(' ').count() <= 2
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ' ');
    // `-- see a::b` and URLs are comments.
    let is_value = value.is_empty() || value.starts_with(' ');
    (is_key && is_value && (is_known(key) || !key.contains(' '))).then(|| (key, value.trim()))
}

struct Here<'p> {
    file: &'p Path,
    line: usize,
}

impl Here<'_> {
    fn error(&self, message: impl AsRef<str>) -> Error {
        Error::usage(format!("{}:{}: {}", self.file.display(), self.line, message.as_ref()))
    }

    fn identifier(&self, what: &str, value: &str) -> Result<String> {
        let good = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            // The server cuts longer names, and two could become one.
            && value.len() <= 63;
        if good {
            Ok(value.to_owned())
        } else {
            Err(self.error(format!("`{value}` cannot be the {what}: letters, digits and `_`, at most 63")))
        }
    }
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

/// `app.tenant_id = :tenant` or `work_mem = 4MB`.
fn setting(here: &Here<'_>, value: &str) -> Result<Setting> {
    let Some((name, value)) = value.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
        return Err(here.error("a setting is written `-- set: app.tenant_id = :tenant`"));
    };
    if name.is_empty() || value.is_empty() {
        return Err(here.error("a setting needs a name and a value"));
    }
    let value = match value.strip_prefix(':') {
        Some(parameter) => SettingValue::Parameter(here.identifier("name of a parameter", parameter)?),
        None => match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(quoted) => SettingValue::Literal(quoted.replace("''", "'")),
            None => SettingValue::Literal(value.to_owned()),
        },
    };
    Ok(Setting { name: name.to_owned(), value })
}

/// `from schema.table.column` or `type = expression`.
fn parameter(here: &Here<'_>, name: String, value: &str) -> Result<Parameter> {
    const FORMS: &str = "`from schema.table.column` or `type = expression`";
    let origin = if let Some(path) = value.strip_prefix("from ") {
        match path.trim().rsplit_once('.') {
            Some((table, column)) if !table.is_empty() && !column.is_empty() => {
                Origin::Column { table: QualifiedName::parse(table), column: column.to_owned() }
            }
            _ => return Err(here.error(format!("`{value}` names no column")).with_help(FORMS)),
        }
    } else {
        match value.split_once('=').map(|(type_name, sql)| (type_name.trim(), sql.trim())) {
            Some((type_name, sql)) if !type_name.is_empty() && !sql.is_empty() => {
                Origin::Expression { type_name: type_name.to_owned(), sql: sql.to_owned() }
            }
            _ => return Err(here.error(format!("the parameter `{name}` has no origin")).with_help(FORMS)),
        }
    };
    Ok(Parameter { name, origin })
}

/// `blocks 40, rows_scanned_per_row 3`.
fn budget(here: &Here<'_>, value: &str, budget: &mut Budget) -> Result<()> {
    for item in value.split(',').map(str::trim) {
        let Some((key, figure)) = item.split_once(' ') else {
            return Err(here.error(format!("`{item}` is no budget; write `blocks 40`")));
        };
        let figure = figure.trim();
        let whole =
            || figure.parse::<u64>().map_err(|_| here.error(format!("`{figure}` is no number of {key}")));
        match key {
            "blocks" => budget.blocks = Some(whole()?),
            "temp_blocks" => budget.temp_blocks = Some(whole()?),
            "rows" => budget.rows = Some(whole()?),
            "rows_scanned_per_row" => {
                let ratio = figure.parse::<f64>().ok().filter(|ratio| ratio.is_finite() && *ratio >= 0.0);
                let Some(ratio) = ratio else {
                    return Err(here.error(format!("`{figure}` is no ratio of rows")));
                };
                budget.rows_scanned_per_row = Some(ratio);
            }
            _ => {
                return Err(here
                    .error(format!("unknown budget `{key}`"))
                    .with_help("known: blocks, temp_blocks, rows, rows_scanned_per_row"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
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
