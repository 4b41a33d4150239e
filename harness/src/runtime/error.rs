//! What a client and a log may see of a database error.

use super::sqlstate::{self, Class, Retry};
use sqlx::postgres::PgDatabaseError;
use std::fmt;

/// Where the server itself reports broken constraints. `RAISE … USING CONSTRAINT = …` of a procedural
/// language can put any value into the same field; the source file is the one field that it cannot choose.
const CONSTRAINT_REPORTERS: &[&str] = &[
    "domains.c",
    "execExprInterp.c",
    "execIndexing.c",
    "execMain.c",
    "nbtinsert.c",
    "ri_triggers.c",
    "tablecmds.c",
    "tuplesort.c",
    "tuplesortvariants.c",
];

/// A database error without any value in it: neither `Display` nor `Debug` nor `source` shows what the
/// server wrote.
///
/// Dropping DETAIL is not enough: the primary message of 22P02 quotes the input, and that of P0001 is
/// whatever a function made of its arguments. So nothing of the server's text is kept, only the code and
/// the names of the objects, and those only where the server itself filled them in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataError {
    /// What the caller should make of it.
    pub class: Class,
    /// The SQLSTATE, if the server answered at all.
    pub code: Option<String>,
    /// The constraint that was broken.
    pub constraint: Option<String>,
    /// The table it is about.
    pub table: Option<String>,
    /// The column it is about.
    pub column: Option<String>,
}

impl DataError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.class.status()
    }

    /// Whether trying again may help.
    pub fn retry(&self) -> Retry {
        match &self.code {
            Some(code) => sqlstate::retry(code),
            None if self.class == Class::Unavailable => Retry::WhenIdempotent,
            None => Retry::Never,
        }
    }

    fn without_code(class: Class) -> Self {
        DataError { class, code: None, constraint: None, table: None, column: None }
    }
}

/// The public message: the same for every value.
impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.class {
            Class::Invalid => "the request holds a value that is not allowed",
            Class::Forbidden => "the request is not permitted",
            Class::NotFound => "what the request asks for does not exist",
            Class::Conflict => "the request conflicts with what is stored",
            Class::Retry => "the request met another one; try again",
            Class::Unavailable => "the database is not available at the moment; try again later",
            Class::Timeout => "the request took too long",
            Class::Internal => "the request could not be processed",
        })?;
        match (&self.constraint, &self.column) {
            (Some(constraint), _) => write!(f, " (constraint `{constraint}`)"),
            (None, Some(column)) => write!(f, " (column `{column}`)"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for DataError {}

impl From<&sqlx::Error> for DataError {
    fn from(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(answer) => match answer.try_downcast_ref::<PgDatabaseError>() {
                Some(answer) => DataError::from(answer),
                None => DataError::without_code(Class::Internal),
            },
            sqlx::Error::RowNotFound => DataError::without_code(Class::NotFound),
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => DataError::without_code(Class::Unavailable),
            _ => DataError::without_code(Class::Internal),
        }
    }
}

impl From<sqlx::Error> for DataError {
    fn from(error: sqlx::Error) -> Self {
        DataError::from(&error)
    }
}

impl From<&PgDatabaseError> for DataError {
    fn from(answer: &PgDatabaseError) -> Self {
        let code = answer.code();
        let trusted =
            code.starts_with("23") && answer.file().is_some_and(|file| CONSTRAINT_REPORTERS.contains(&file));
        let name = |field: Option<&str>| field.filter(|_| trusted).map(str::to_owned);
        DataError {
            class: sqlstate::class(code),
            code: Some(code.to_owned()),
            constraint: name(answer.constraint()),
            table: name(answer.table()),
            column: name(answer.column()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_from_the_server_has_a_class_too() {
        assert_eq!(DataError::from(sqlx::Error::RowNotFound).class, Class::NotFound);
        let saturated = DataError::from(sqlx::Error::PoolTimedOut);
        assert_eq!((saturated.status(), saturated.retry()), (503, Retry::WhenIdempotent));
    }

    #[test]
    fn a_broken_configuration_does_not_show_its_url() {
        let error = sqlx::Error::Configuration("postgres://u:hunter2@h".into());
        let shown = format!("{0} {0:?}", DataError::from(error));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
