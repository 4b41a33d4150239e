//! What the migrations ask for in a schema that nobody makes, such as Supabase's `auth`.

use crate::script::{Kind, Lexer};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Words before a table, where a parenthesis may follow as behind a function.
const BEFORE_TABLE: &[&str] = &["into", "on", "references", "table", "update"];

/// Words before a name in what makes it.
const BEFORE_NEW: &[&str] = &["exists", "function", "procedure", "table", "type", "view"];

/// A schema that is not there, and what the migrations ask for in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    pub(super) schema: String,
    /// `auth.users`, `auth.uid()`
    pub(super) objects: Vec<String>,
}

impl Lacking {
    /// What is missing by what a statement said when it failed, and what the files below `dir` ask for there.
    pub(super) fn of(told: &str, dir: &Path) -> Option<Lacking> {
        let schema = missing_schema(told)?;
        let mut objects = BTreeSet::new();
        read(dir, &schema, &mut objects, 2);
        let objects = objects.into_iter().collect();
        Some(Lacking { schema, objects })
    }

    /// Who is to make it, as the end of a sentence.
    pub(super) fn told(&self) -> String {
        let names: Vec<String> = self.objects.iter().map(|name| format!("`{name}`")).collect();
        let asked = match names.as_slice() {
            [] => String::new(),
            names => format!(", of which the migrations ask for {}", names.join(", ")),
        };
        let platform = if self.schema == "auth" { ", as Supabase does" } else { "" };
        format!(
            "who makes the schema `{}`{asked}: name files of SQL in `bootstrap` that create what is asked for before any \
             migration runs{platform}",
            self.schema
        )
    }
}

/// The schema of what a statement found to be missing.
fn missing_schema(told: &str) -> Option<String> {
    let quoted = |kind: &str| {
        told.match_indices(kind).find_map(|(at, start)| {
            let (name, rest) = told[at + start.len()..].split_once('"')?;
            rest.starts_with(" does not exist").then_some(name)
        })
    };
    let in_schema = |name: &str| name.split_once('.').map(|(schema, _)| schema.to_owned());
    let function = || {
        told.match_indices("function ").find_map(|(at, start)| {
            let (name, rest) = told[at + start.len()..].split_once('(')?;
            let (_, rest) = rest.split_once(')')?;
            rest.starts_with(" does not exist").then_some(name)
        })
    };
    quoted("schema \"")
        .map(str::to_owned)
        .or_else(|| quoted("relation \"").and_then(in_schema))
        .or_else(|| function().and_then(in_schema))
}

fn read(dir: &Path, schema: &str, objects: &mut BTreeSet<String>, depth: usize) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth > 0 {
            read(&path, schema, objects, depth - 1);
        } else if path.extension().is_some_and(|own| own == "sql")
            && let Ok(text) = fs::read_to_string(&path)
        {
            asked_for(&text, schema, objects);
        }
    }
}

/// What a text asks for in a schema, and does not make itself.
fn asked_for(text: &str, schema: &str, objects: &mut BTreeSet<String>) {
    let mut words: Vec<String> = Vec::new();
    for token in Lexer::new(text) {
        let said = &text[token.start..token.end];
        match token.kind {
            Kind::Skipped => {}
            // The body of a function asks too.
            Kind::Quoted if said.starts_with('$') => {
                let tag = said[1..].find('$').map_or(said.len(), |end| end + 2);
                if let Some(body) = said.get(tag..said.len().saturating_sub(tag)) {
                    asked_for(body, schema, objects);
                }
                words.push(String::new());
            }
            Kind::Quoted => words.push(said.trim_matches('"').to_owned()),
            _ => words.push(said.to_ascii_lowercase()),
        }
    }
    let word = |at: Option<usize>| at.and_then(|at| words.get(at)).map(String::as_str).unwrap_or_default();
    for (at, said) in words.iter().enumerate() {
        if said != schema || word(Some(at + 1)) != "." {
            continue;
        }
        let before = word(at.checked_sub(1));
        if before == "." || BEFORE_NEW.contains(&before) && word(at.checked_sub(2)) != "alter" {
            continue;
        }
        let name = word(Some(at + 2));
        let is_called = word(Some(at + 3)) == "(" && !BEFORE_TABLE.contains(&before);
        objects.insert(format!("{schema}.{name}{}", if is_called { "()" } else { "" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("failed: schema \"auth\" does not exist (SQLSTATE 3F000)", Some("auth"))]
    #[case("relation \"auth.users\" does not exist", Some("auth"))]
    #[case("function auth.uid() does not exist", Some("auth"))]
    #[case("function auth.has(text, integer) does not exist", Some("auth"))]
    #[case("relation \"b\" does not exist", None)]
    #[case("role \"a\" does not exist", None)]
    fn a_missing_schema_is_told(#[case] told: &str, #[case] expected: Option<&str>) {
        assert_eq!(missing_schema(told).as_deref(), expected);
    }

    #[test]
    fn what_is_asked_for_is_listed_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("1")).unwrap();
        fs::write(
            dir.path().join("1/migration.sql"),
            "-- auth.nothing\n
             create function auth.own() returns int language sql as $$ select 1 from auth.sessions $$;
             create table a (id uuid references auth.users(id), t text default 'auth.text');
             create policy p on a using (auth.uid() = id and (select \"auth\".jwt() ->> 'x') = t);
             create trigger t after insert on auth.users for each row execute function f();",
        )
        .unwrap();
        let lacking = Lacking::of("schema \"auth\" does not exist", dir.path()).unwrap();
        assert_eq!(lacking.objects, ["auth.jwt()", "auth.sessions", "auth.uid()", "auth.users"]);
        let told = lacking.told();
        assert!(
            told.starts_with("who makes the schema `auth`, of which the migrations ask for `auth.jwt()`, "),
            "{told}"
        );
    }
}
