//! One line of a statement's header.

use super::model::{Budget, Origin, Parameter, Setting, SettingValue};
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use std::path::Path;

/// The keys of a header.
pub(super) const KEYS: &[&str] = &["name", "role", "set", "param", "budget"];

pub(super) fn is_known(key: &str) -> bool {
    KEYS.contains(&key.split(' ').next().unwrap_or_default())
}

/// `-- key: value` or `-- key word: value`, the key in lower case; anything else is an ordinary comment.
pub(super) fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("-- ")?.split_once(':')?;
    let is_key = key.split(' ').count() <= 2
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ' ');
    // `-- see a::b` and URLs are comments.
    let is_value = value.is_empty() || value.starts_with(' ');
    (is_key && is_value && (is_known(key) || !key.contains(' '))).then(|| (key, value.trim()))
}

pub(super) struct Here<'p> {
    pub(super) file: &'p Path,
    pub(super) line: usize,
}

impl Here<'_> {
    pub(super) fn error(&self, message: impl AsRef<str>) -> Error {
        Error::usage(format!("{}:{}: {}", self.file.display(), self.line, message.as_ref()))
    }

    pub(super) fn identifier(&self, what: &str, value: &str) -> Result<String> {
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

/// `app.tenant_id = :tenant` or `work_mem = 4MB`.
pub(super) fn setting(here: &Here<'_>, value: &str) -> Result<Setting> {
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
pub(super) fn parameter(here: &Here<'_>, name: String, value: &str) -> Result<Parameter> {
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
pub(super) fn budget(here: &Here<'_>, value: &str, budget: &mut Budget) -> Result<()> {
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
