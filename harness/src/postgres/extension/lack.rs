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

impl Lack {
    /// What the server's answer to a statement misses, if `error` has one.
    pub(crate) fn of(error: &Error) -> Option<Lack> {
        let answer = error.server_answer()?;
        Lack::told(&answer.code()?, answer.message())
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
    use rstest::rstest;

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
