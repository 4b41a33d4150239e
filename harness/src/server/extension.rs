//! What a running server has of extensions, and what to do where one is missing.

use crate::error::{Error, Result};
use crate::postgres::{Installation, Lack, Site, quoted, remedies, the_extensions};
use crate::script::connect;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{Connection, PgConnection};

/// Where extensions are named.
const DECLARED: &str = "`extensions: [\"…\"]` of `template!`, or under `[postgres]` of `pgharness.toml`";

/// What a server has of extensions, and a database on it.
#[derive(Clone, Debug)]
pub(crate) struct Extensions {
    major: u32,
    /// Those that can be created.
    available: Vec<String>,
    /// The schemas of those that were.
    created: Vec<(String, Home)>,
}

/// The schema of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Home {
    schema: String,
    is_on_path: bool,
}

impl Extensions {
    /// Those of the database that `connection` is to.
    ///
    /// # Errors
    /// The server went away.
    pub(crate) async fn of(connection: &mut PgConnection) -> Result<Extensions> {
        let (version, available): (i32, Vec<String>) = sqlx::query_as(
            "select pg_catalog.current_setting('server_version_num')::int,
                    array(select name::text from pg_catalog.pg_available_extensions)",
        )
        .fetch_one(&mut *connection)
        .await?;
        let created: Vec<(String, String, bool)> = sqlx::query_as(
            "select extname::text, nspname::text, nspname = any(pg_catalog.current_schemas(true))
             from pg_catalog.pg_extension x join pg_catalog.pg_namespace n on n.oid = x.extnamespace",
        )
        .fetch_all(connection)
        .await?;
        Ok(Extensions {
            major: u32::try_from(version / 10_000).unwrap_or_default(),
            available,
            created: created
                .into_iter()
                .map(|(name, schema, is_on_path)| (name, Home { schema, is_on_path }))
                .collect(),
        })
    }

    fn is_available(&self, name: &str) -> bool {
        self.available.iter().any(|available| available == name)
    }

    /// Makes sure that extensions of these names can be created.
    ///
    /// # Errors
    /// One cannot; the error tells how to get it. `from` is what the server runs from, if it runs on this machine.
    pub(crate) fn require<S: AsRef<str>>(&self, names: &[S], from: Option<&Installation>) -> Result<()> {
        let names = names.iter().map(AsRef::as_ref);
        let missing: Vec<&str> = names.filter(|name| !self.is_available(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let the_missing = the_extensions(&missing);
        Err(Error::environment(format!("Postgres {} {}lacks {the_missing}", self.major, place(from)))
            .with_help(remedies(&missing, self.major, site(from))))
    }

    /// What to do about what is missing; `None`: extensions have nothing to do with it.
    fn help(&self, lack: &Lack, from: Option<&Installation>) -> Option<String> {
        match lack {
            Lack::Extension(name) => {
                let remedies = self.remedies(name, from);
                Some(format!("the extension `{name}` is not installed on this server\n{remedies}"))
            }
            Lack::Required(name) => Some(format!(
                "the extension `{name}` must be there first: `CREATE EXTENSION \"{name}\"`, or `CASCADE` behind the \
                 one that requires it; or name it in `extensions`, which the harness creates: {DECLARED}"
            )),
            Lack::Right(name) => Some(format!(
                "only a superuser may create the extension `{name}`: name it in `extensions`, which the harness \
                 creates as superuser: {DECLARED}"
            )),
            Lack::Object(object) => {
                let mut providers = from.map(|from| from.providers_of(object)).unwrap_or_default();
                if providers.is_empty() {
                    providers.extend(object.known_provider().map(str::to_owned));
                }
                self.help_with_object(&providers, from)
            }
        }
    }

    /// What to do about an object that comes with one of `providers`.
    fn help_with_object(&self, providers: &[String], from: Option<&Installation>) -> Option<String> {
        let created =
            providers.iter().find_map(|name| self.created.iter().find(|(created, _)| created == name));
        if let Some((name, Home { schema, is_on_path })) = created {
            let elsewhere = format!(
                "the extension `{name}` is in the schema `{schema}`, which is not on the `search_path`: put it \
                 there, or write `{schema}.` before the name"
            );
            // Then it is there, and something else is the matter: the types of its arguments.
            return (!is_on_path).then_some(elsewhere);
        }
        let first = providers.first()?;
        let come = format!("it comes with {}", the_extension_of(providers));
        if providers.iter().any(|name| self.is_available(name)) {
            return Some(format!(
                "{come}: `CREATE EXTENSION \"{first}\"` first, or name it in `extensions`, which the harness creates: \
                 {DECLARED}"
            ));
        }
        let remedies = self.remedies(first, from);
        Some(format!("{come}, which is not installed on this server\n{remedies}"))
    }

    /// How to get an extension that is not installed. Where it is known beforehand, the harness looks for it.
    fn remedies(&self, name: &str, from: Option<&Installation>) -> String {
        let remedies = remedies(&[name], self.major, site(from));
        match from {
            Some(_) => format!(
                "name it in `extensions`, and the harness uses an installation that has it, if there is one or one \
                 can be fetched: {DECLARED}\n{remedies}"
            ),
            None => remedies,
        }
    }
}

fn the_extension_of(providers: &[String]) -> String {
    match providers {
        [one] => format!("the extension `{one}`"),
        several => format!("one of the extensions {}", quoted(several)),
    }
}

fn site(from: Option<&Installation>) -> Site {
    if from.is_some() { Site::Here } else { Site::Elsewhere }
}

fn place(from: Option<&Installation>) -> String {
    from.map(|from| format!("in `{}` ", from.bin().display())).unwrap_or_default()
}

/// Adds to `error` what to do about an extension, if the server's answer in it is about one, or what a program shows
/// of such an answer. `options` are of the session that got it, `from` is what the server runs from.
pub(crate) async fn explain(error: Error, options: &PgConnectOptions, from: Option<&Installation>) -> Error {
    let Some(lack) = Lack::of(&error) else { return error };
    let Ok(mut connection) = connect(options).await else { return error };
    let extensions = Extensions::of(&mut connection).await;
    let _ = connection.close().await;
    let Some(help) = extensions.ok().and_then(|extensions| extensions.help(&lack, from)) else {
        return error;
    };
    // The server's own hint says less; what the script's runner has to say stays.
    let answer = error.server_answer().and_then(|answer| answer.try_downcast_ref::<PgDatabaseError>());
    let hint = answer.and_then(PgDatabaseError::hint).unwrap_or_default();
    let others = error.help().unwrap_or_default();
    let others = others.strip_prefix(hint).unwrap_or(others).trim_start();
    let help = if others.is_empty() { help } else { format!("{help}\n{others}") };
    error.with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(available: &[&str], created: &[(&str, &str, bool)]) -> Extensions {
        Extensions {
            major: 16,
            available: available.iter().map(|name| (*name).to_owned()).collect(),
            created: created
                .iter()
                .map(|(name, schema, is_on_path)| {
                    ((*name).to_owned(), Home { schema: (*schema).to_owned(), is_on_path: *is_on_path })
                })
                .collect(),
        }
    }

    fn help_with_citext(extensions: &Extensions) -> Option<String> {
        extensions.help_with_object(&["citext".to_owned()], None)
    }

    #[test]
    fn an_object_of_an_extension_that_is_not_created_asks_for_it() {
        let help = help_with_citext(&extensions(&["citext"], &[])).unwrap();
        assert!(
            help.starts_with("it comes with the extension `citext`: `CREATE EXTENSION \"citext\"` first"),
            "{help}"
        );
    }

    #[test]
    fn an_object_of_an_extension_that_is_not_installed_tells_where_it_is() {
        let help = help_with_citext(&extensions(&[], &[])).unwrap();
        assert!(help.contains("which is not installed on this server"), "{help}");
        assert!(help.contains("an image that has `citext` is `postgres:16`"), "{help}");
    }

    #[test]
    fn an_object_of_an_extension_that_is_there_is_out_of_sight_or_another() {
        let help = help_with_citext(&extensions(&["citext"], &[("citext", "ext", false)])).unwrap();
        assert!(
            help.starts_with("the extension `citext` is in the schema `ext`, which is not on the"),
            "{help}"
        );
        assert_eq!(help_with_citext(&extensions(&["citext"], &[("citext", "public", true)])), None);
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let error = extensions(&["citext"], &[]).require(&["vector", "citext", "postgis"], None).unwrap_err();
        assert_eq!(error.to_string(), "Postgres 16 lacks the extensions `vector`, `postgis`");
        let help = error.help().unwrap();
        for part in ["pgvector/pgvector:pg16", "postgis/postgis:16-3.5", "postgresql-16-pgvector"] {
            assert!(help.contains(part), "{help}");
        }
    }
}
