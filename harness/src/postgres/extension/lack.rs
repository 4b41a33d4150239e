//! What a server's answer says of extensions.

use super::Object;
use crate::error::Error;

/// What a statement failed for, as far as extensions are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The files of this extension.
    Extension(String),
    /// This extension in the database, which another one requires.
    Required(String),
    /// The right to create this extension.
    Right(String),
    /// An object, which may come with an extension.
    Object(Object),
}

/// How answers about what is missing begin and end, with their SQLSTATE.
const ANSWERS: &[(&str, &str, &str)] = &[
    ("0A000", "extension \"", "\" is not available"),
    ("58P01", "could not open extension control file \"", ".control\""),
    ("42704", "required extension \"", "\" is not installed"),
    ("42501", "permission denied to create extension \"", "\""),
    ("42704", "operator class \"", "\" does not exist"),
    ("42704", "access method \"", "\" does not exist"),
    ("42704", "text search ", "\" does not exist"),
    ("42704", "foreign-data wrapper \"", "\" does not exist"),
    ("42704", "language \"", "\" does not exist"),
    ("42704", "type \"", "\" does not exist"),
    ("42704", "data type ", " has no default operator class for access method \"gist\""),
    ("42883", "function ", " does not exist"),
];

impl Lack {
    /// What is missing by the server's answer in `error`, or by what it shows of the output of a program that got one.
    pub(crate) fn of(error: &Error) -> Option<Lack> {
        match error.server_answer() {
            Some(answer) => Lack::told(&answer.code()?, answer.message()),
            None => Lack::shown(&error.to_string()),
        }
    }

    /// Programs put words of their own around what the server said, and lines after it.
    fn shown(text: &str) -> Option<Lack> {
        let output = text.lines().filter_map(|line| line.strip_prefix(crate::error::OUTPUT));
        output.filter(|line| !line.contains("NOTICE")).find_map(|line| {
            ANSWERS.iter().find_map(|(code, start, end)| {
                let begins = line.find(start)?;
                let message = &line[begins..];
                let ends = start.len() + message[start.len()..].find(end)? + end.len();
                Lack::told(code, &message[..ends])
            })
        })
    }

    fn told(code: &str, message: &str) -> Option<Lack> {
        let quoted = || message.split('"').nth(1).map(str::to_owned);
        match code {
            "0A000" if message.starts_with("extension \"") && message.ends_with("is not available") => {
                quoted().map(Lack::Extension)
            }
            "58P01" if message.contains(".control\"") => {
                let file = message.split(".control\"").next()?;
                Some(Lack::Extension(file.rsplit(['/', '"']).next()?.to_owned()))
            }
            "42704" if message.starts_with("required extension \"") => quoted().map(Lack::Required),
            "42501" if message.starts_with("permission denied to create extension \"") => {
                quoted().map(Lack::Right)
            }
            "42883" | "42704" | "42P01" => Object::missing_in(message).map(Lack::Object),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use rstest::rstest;

    #[rstest]
    #[case("psql:a.sql:3: ERROR:  extension \"vector\" is not available", Some(Lack::Extension("vector".into())))]
    #[case("sqlalchemy.exc.ProgrammingError: (psycopg.errors.UndefinedObject) type \"citext\" does not exist", Some(Lack::Object(Object::missing_in("type \"citext\" does not exist").unwrap())))]
    #[case("error: permission denied to create extension \"file_fdw\" (SQLSTATE 42501)", Some(Lack::Right("file_fdw".into())))]
    #[case("ERROR: function digest(text, unknown) does not exist at character 8", Some(Lack::Object(Object::missing_in("function digest(text, unknown) does not exist").unwrap())))]
    #[case("NOTICE:  type \"citext\" does not exist, skipping", None)]
    #[case("file not found", None)]
    fn what_a_program_was_told_is_found_in_its_output(#[case] line: &str, #[case] expect: Option<Lack>) {
        let message =
            format!("migration command `x` failed: status 1\n  | before\n  | {line}\n  | LINE 1: after");
        assert_eq!(Lack::of(&Error::new(ErrorKind::Migration, message)), expect);
        // What is no output is not searched: our own words are none of the server's.
        assert_eq!(Lack::of(&Error::new(ErrorKind::Migration, line)), None);
    }

    #[rstest]
    #[case("0A000", "extension \"postgis\" is not available", Lack::Extension("postgis".into()))]
    #[case(
        "58P01",
        "could not open extension control file \"/usr/share/x/vector.control\": No such file or directory",
        Lack::Extension("vector".into())
    )]
    #[case("42704", "required extension \"cube\" is not installed", Lack::Required("cube".into()))]
    #[case("42501", "permission denied to create extension \"file_fdw\"", Lack::Right("file_fdw".into()))]
    fn what_is_missing_is_told(#[case] code: &str, #[case] message: &str, #[case] expect: Lack) {
        assert_eq!(Lack::told(code, message), Some(expect));
    }

    #[rstest]
    #[case("0A000", "cannot alter type of a column used by a view")]
    #[case("58P01", "could not access file \"$libdir/nosuch\": No such file or directory")]
    #[case("42501", "permission denied for table accounts")]
    #[case("42704", "role \"vector\" does not exist")]
    #[case("42601", "type \"citext\" does not exist")]
    fn other_answers_are_none_of_it(#[case] code: &str, #[case] message: &str) {
        assert_eq!(Lack::told(code, message), None);
    }
}
