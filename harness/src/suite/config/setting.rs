//! A value that the file gives, or the name of the environment variable that holds it.

use crate::env;
use crate::error::{Error, Result};
use crate::secret::Secret;
use serde::de::{Deserialize, Deserializer, Error as _};
use std::str::FromStr;

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
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        // serde's own message would show the value, which may be a password without its quotes.
        let text =
            String::deserialize(deserializer).map_err(|_| D::Error::custom("must be text in quotes"))?;
        text.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Setting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("env:") {
            None => Ok(Setting::Literal(Secret::new(text))),
            Some(name) if is_name(name) => Ok(Setting::Variable(name.to_owned())),
            Some(name) => Err(Error::usage(format!("`{name}` is no name of an environment variable"))),
        }
    }
}

impl Setting {
    /// The value: its own, or that of the variable that it names.
    ///
    /// # Errors
    /// The variable is not set, or is empty.
    pub fn value(&self) -> Result<Secret> {
        let name = match self {
            Setting::Literal(text) => return Ok(text.clone()),
            Setting::Variable(name) => name,
        };
        env::named(name).map(Secret::new).ok_or_else(|| {
            Error::usage(format!("the environment variable `{name}` is not set, or is empty"))
                .with_help(format!("set `{name}` where pgharness runs"))
        })
    }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
