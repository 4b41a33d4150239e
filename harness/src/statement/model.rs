//! A named statement, as its file describes it.

use crate::ident::QualifiedName;
use std::path::PathBuf;

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
