//! A value that the file gives, or the name of the environment variable that holds it.

use crate::secret::Secret;
use serde::de::{Deserialize, Deserializer, Error as _};

/// A value that the file gives, or the name of the environment variable that holds it (`env:NAME`).
///
/// The variable is looked up when the value is used: nobody needs the password of a role that takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The value itself, which may be a password or hold one.
    Literal(Secret),
    /// The name of a variable.
    Variable(String),
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own message would show the value, which may be a password without its quotes.
        let text =
            String::deserialize(deserializer).map_err(|_| D::Error::custom("must be text in quotes"))?;
        match text.strip_prefix("env:") {
            None => Ok(Setting::Literal(Secret::new(text))),
            Some(name) if is_name(name) => Ok(Setting::Variable(name.to_owned())),
            Some(name) => Err(D::Error::custom(format!("`{name}` is no name of an environment variable"))),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
