//! The forms of `fixtures(…)`, as sqlx has them.

use crate::attribute::refused;
use std::path::Path;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, MetaList, Token, parenthesized};

/// The paths that one `fixtures(…)` names, relative to the test's source file, in order.
pub(crate) fn paths(list: &MetaList) -> syn::Result<Vec<LitStr>> {
    if list.tokens.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match list.parse_args()? {
        Form::Names(names) => names.iter().map(|name| within("fixtures", name)).collect(),
        Form::Paths(paths) => paths,
        Form::Scripts { folder, names } => names.iter().map(|name| within(&folder.value(), name)).collect(),
    })
}

/// How one `fixtures(…)` says where its files are.
enum Form {
    /// `"users", "posts.sql"`: in the folder `fixtures` beside the source file.
    Names(Vec<LitStr>),
    /// `"./other/users.sql"`.
    Paths(Vec<LitStr>),
    /// `path = "./other", scripts("users", "posts.sql")`.
    Scripts { folder: LitStr, names: Vec<LitStr> },
}

impl Parse for Form {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(Ident) {
            return literals(input).and_then(names_or_paths);
        }
        named(input, "path", "`path` must be the first argument of `fixtures`")?;
        input.parse::<Token![=]>()?;
        let folder = input.parse()?;
        let mut names = Vec::new();
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            if input.peek(LitStr) {
                return Err(input.error("files of a `path` must be named in `scripts(…)`"));
            }
            named(input, "scripts", "expected `scripts(…)` after `path`")?;
            let list;
            parenthesized!(list in input);
            names.extend(literals(&list)?);
        }
        Ok(Form::Scripts { folder, names })
    }
}

fn literals(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    Ok(Punctuated::<LitStr, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

fn named(input: ParseStream<'_>, name: &str, complaint: &str) -> syn::Result<()> {
    let found: Ident = input.parse()?;
    if found == name { Ok(()) } else { Err(refused(found, complaint)) }
}

/// Names and paths are told apart by a separator, and do not mix.
fn names_or_paths(literals: Vec<LitStr>) -> syn::Result<Form> {
    let is_path = |literal: &LitStr| Path::new(&literal.value()).components().count() > 1;
    let are_paths = literals.first().is_some_and(is_path);
    match literals.iter().find(|literal| is_path(literal) != are_paths) {
        Some(other) if are_paths => Err(refused(
            other,
            "expected a path, as the first one is: `./NAME.sql`, or another `fixtures(…)`",
        )),
        Some(other) => {
            Err(refused(other, "expected a name, as the first one is: put a path in another `fixtures(…)`"))
        }
        None if are_paths => Ok(Form::Paths(literals)),
        None => Ok(Form::Names(literals)),
    }
}

/// The file of that name in `folder`, with the ending that it may lack.
fn within(folder: &str, name: &LitStr) -> LitStr {
    let file = name.value();
    let ending = if Path::new(&file).extension().is_some() { "" } else { ".sql" };
    LitStr::new(&format!("{folder}/{file}{ending}"), name.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in a `fixtures(…)`, and the paths or the complaint that it makes.
    fn check(inside: &str, expected: Result<&[&str], &str>) {
        let list: MetaList = syn::parse_str(&format!("fixtures({inside})")).unwrap();
        match (paths(&list), expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.iter().map(LitStr::value).collect::<Vec<_>>(), expected, "{inside}");
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{inside}: {error}");
            }
            (found, expected) => panic!("{inside}: {:?} instead of {expected:?}", found.map(|_| ())),
        }
    }

    #[test]
    fn every_form_of_sqlx_is_read() {
        check("", Ok(&[]));
        check("\"users\"", Ok(&["fixtures/users.sql"]));
        check("\"users\", \"posts.sql\",", Ok(&["fixtures/users.sql", "fixtures/posts.sql"]));
        check("\"users.v2\"", Ok(&["fixtures/users.v2"]));
        check("\"./a.sql\", \"../b/c.sql\", \"/d.sql\"", Ok(&["./a.sql", "../b/c.sql", "/d.sql"]));
        check(
            "path = \"../b\", scripts(\"users\", \"posts.sql\")",
            Ok(&["../b/users.sql", "../b/posts.sql"]),
        );
        check("path = \"b\", scripts(\"users\",),", Ok(&["b/users.sql"]));
        check("path = \"b\", scripts(\"users\"), scripts(\"a\")", Ok(&["b/users.sql", "b/a.sql"]));
        check("path = \"b\"", Ok(&[]));
    }

    #[test]
    fn every_wrong_form_is_told() {
        check("users", Err("`path` must be the first argument"));
        check("scripts(\"users\"), path = \"b\"", Err("`path` must be the first argument"));
        check("path = \"b\", \"users\"", Err("must be named in `scripts(…)`"));
        check("path = \"b\", files(\"users\")", Err("expected `scripts(…)`"));
        check("path = \"b\", scripts(\"users\"), \"posts\"", Err("must be named in `scripts(…)`"));
        check("path = \"b\" scripts(\"users\")", Err("unexpected token"));
        check("path = b", Err("expected string literal"));
        check("\"users\", \"./posts.sql\"", Err("expected a name, as the first one is"));
        check("\"./users.sql\", \"posts\"", Err("expected a path, as the first one is"));
        check("1", Err("expected string literal"));
    }
}
