//! The attributes of the macro, and what it expands to.

use crate::{arguments, fixtures};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use std::path::Path;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprGroup, ExprLit, ExprPath, ItemFn, Lit, LitStr, Meta, MetaNameValue, Token};

const KNOWN: &str = "expected `fixtures(\"NAME\", …)`, `migrations = \"FOLDER\" | false`, `migrator = \"PATH::TO::MIGRATOR\"`, \
     `template = PATH` or `isolation = \"cluster\"`";

/// What stands in the parentheses of `#[pgharness::test(…)]`.
#[derive(Default)]
pub(crate) struct Attributes {
    template: Option<syn::Path>,
    migrations: Option<Migrations>,
    fixtures: Vec<LitStr>,
    is_cluster: bool,
    /// The first of all, for a complaint about any.
    first: Option<Meta>,
}

enum Migrations {
    In(LitStr),
    Of(syn::Path),
    None,
}

impl Parse for Attributes {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attributes = Attributes::default();
        for meta in Punctuated::<Meta, Token![,]>::parse_terminated(input)? {
            match &meta {
                Meta::List(list) if list.path.is_ident("fixtures") => {
                    attributes.fixtures.extend(fixtures::paths(list)?);
                }
                Meta::NameValue(pair) if pair.path.is_ident("migrations") => {
                    attributes.set_migrations(pair, folder(&pair.value)?)?;
                }
                Meta::NameValue(pair) if pair.path.is_ident("migrator") => {
                    attributes.set_migrations(pair, Migrations::Of(path(&pair.value)?))?;
                }
                Meta::NameValue(pair) if pair.path.is_ident("template") => {
                    attributes.template = Some(path(&pair.value)?);
                }
                Meta::NameValue(pair) if pair.path.is_ident("isolation") => {
                    attributes.is_cluster = is_cluster(&pair.value)?;
                }
                other => return Err(refused(other, KNOWN)),
            }
            attributes.first.get_or_insert(meta);
        }
        Ok(attributes)
    }
}

impl Attributes {
    fn set_migrations(&mut self, pair: &MetaNameValue, migrations: Migrations) -> syn::Result<()> {
        match self.migrations.replace(migrations) {
            None => Ok(()),
            Some(_) => Err(refused(pair, "cannot have more than one `migrations` or `migrator`")),
        }
    }
}

/// A complaint that points at its cause.
pub(crate) fn refused(at: impl ToTokens, complaint: &str) -> syn::Error {
    syn::Error::new_spanned(at, complaint)
}

/// The value itself: what a `macro_rules!` passes on comes in a group that is not seen.
fn bare(value: &Expr) -> &Expr {
    match value {
        Expr::Group(ExprGroup { expr, .. }) => bare(expr),
        other => other,
    }
}

fn literal(value: &Expr) -> Option<&Lit> {
    match bare(value) {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

fn folder(value: &Expr) -> syn::Result<Migrations> {
    match literal(value) {
        Some(Lit::Bool(is_on)) if !is_on.value => Ok(Migrations::None),
        Some(Lit::Bool(is_on)) => Err(refused(is_on, "`migrations = true` is redundant")),
        Some(Lit::Str(folder)) if is_there(&folder.value()) => Ok(Migrations::In(folder.clone())),
        Some(Lit::Str(folder)) => {
            Err(refused(folder, "there is no such folder in the package's (that of its `Cargo.toml`)"))
        }
        _ => Err(refused(value, "expected a folder, or `false`")),
    }
}

#[expect(clippy::disallowed_methods, reason = "where cargo tells a macro which package it is in")]
fn is_there(folder: &str) -> bool {
    // A compiler that was not started by cargo cannot tell: the test itself will.
    std::env::var_os("CARGO_MANIFEST_DIR").is_none_or(|package| Path::new(&package).join(folder).is_dir())
}

/// A path, in quotes as sqlx has it or without.
fn path(value: &Expr) -> syn::Result<syn::Path> {
    match (bare(value), literal(value)) {
        (Expr::Path(ExprPath { qself: None, path, .. }), _) => Ok(path.clone()),
        (_, Some(Lit::Str(text))) => text.parse(),
        _ => Err(refused(value, "expected the path of a static")),
    }
}

fn is_cluster(value: &Expr) -> syn::Result<bool> {
    let Some(Lit::Str(level)) = literal(value) else {
        return Err(refused(value, "expected `\"database\"` or `\"cluster\"`"));
    };
    match level.value().as_str() {
        "cluster" => Ok(true),
        "database" => Ok(false),
        _ => Err(refused(level, "expected `database` or `cluster`")),
    }
}

pub(crate) fn expand(attributes: &Attributes, function: &ItemFn) -> syn::Result<TokenStream> {
    let ItemFn { attrs, vis, sig, block } = function;
    let (name, output) = (&sig.ident, &sig.output);
    // sqlx does not ask for it either.
    let mut inner = sig.clone();
    inner.asyncness.get_or_insert_with(Default::default);
    if sig.inputs.is_empty() {
        if let Some(first) = &attributes.first {
            return Err(refused(
                first,
                "says what a database is made of, and the test has no argument that asks for one",
            ));
        }
        return Ok(quote! {
            #[::core::prelude::v1::test]
            #(#attrs)*
            #vis fn #name() #output {
                #inner #block
                ::pgharness::database::run_bare(#name())
            }
        });
    }
    let template = template(attributes)?;
    let values = arguments::values(sig)?;
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() {
            #inner #block
            ::pgharness::database::run_test(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                #template,
                async |db: &::pgharness::TestDb| {
                    ::core::result::Result::Ok(::pgharness::database::outcome(#name(#(#values),*).await))
                },
            );
        }
    })
}

/// A reference to the named template, or to one of the test's own.
fn template(attributes: &Attributes) -> syn::Result<TokenStream> {
    if let Some(path) = &attributes.template {
        if attributes.migrations.is_some() || !attributes.fixtures.is_empty() || attributes.is_cluster {
            return Err(refused(path, "a named template has its migrations, fixtures and isolation itself"));
        }
        return Ok(quote! { &#path });
    }
    let migrations = match &attributes.migrations {
        Some(Migrations::In(folder)) => {
            quote! { declared.migrations = ::core::option::Option::Some(#folder); }
        }
        // Within a function, where a `LazyLock` may be borrowed too.
        Some(Migrations::Of(path)) => quote! { declared.migrator = ::core::option::Option::Some(|| &#path); },
        Some(Migrations::None) => quote! {},
        None => quote! { declared.migrations_if_there = true; },
    };
    let fixtures = attributes.fixtures.iter().map(|path| {
        quote! {
            ::pgharness::Included {
                source_file: ::core::file!(),
                path: #path,
                text: ::core::include_str!(#path),
            }
        }
    });
    let level = if attributes.is_cluster {
        quote! { Cluster }
    } else {
        quote! { Database }
    };
    // In a block of its own, where the static's name meets none of the test's.
    Ok(quote! {
        {
            static __PGHARNESS_TEMPLATE: ::pgharness::Template = ::pgharness::Template::declared({
                let mut declared = ::pgharness::Declared::new(::core::env!("CARGO_MANIFEST_DIR"));
                #migrations
                declared.included = &[#(#fixtures),*];
                declared.isolation = ::pgharness::Isolation::#level;
                declared
            });
            &__PGHARNESS_TEMPLATE
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "async fn it_works(pool: PgPool) {}";

    fn expanded(attributes: &str, function: &str) -> syn::Result<String> {
        let attributes = syn::parse_str::<Attributes>(attributes)?;
        Ok(expand(&attributes, &syn::parse_str(function)?)?.to_string().replace(' ', ""))
    }

    fn check(attributes: &str, function: &str, expected: &str) {
        let text = expanded(attributes, function).unwrap();
        assert!(text.contains(expected), "{attributes}: {text}");
    }

    fn refuse(attributes: &str, function: &str, expected: &str) {
        let error = expanded(attributes, function).unwrap_err();
        assert!(error.to_string().contains(expected), "{attributes}: {error}");
    }

    #[test]
    fn migrations_come_from_a_folder_a_static_or_not_at_all() {
        check("", POOL, "declared.migrations_if_there=true;");
        check("migrations = \"src\"", POOL, "Some(\"src\");");
        check("migrator = \"app::MIGRATOR\"", POOL, "Some(||&app::MIGRATOR);");
        check("migrator = app::MIGRATOR,", POOL, "Some(||&app::MIGRATOR);");
        assert!(!expanded("migrations = false", POOL).unwrap().contains("declared.migrations"));
    }

    #[test]
    fn fixtures_are_compiled_in_in_order() {
        let text = expanded("fixtures(\"a\"), migrations = false, fixtures(\"./b.sql\")", POOL).unwrap();
        let places =
            ["include_str!(\"fixtures/a.sql\")", "include_str!(\"./b.sql\")"].map(|call| text.find(call));
        assert!(places[0].is_some() && places[0] < places[1], "{text}");
    }

    #[test]
    fn arguments_are_served_by_their_types() {
        let function = "fn it_works(db: &TestDb, mut conn: my::Alias) -> Result<(), E> {}";
        check(
            "template = APP",
            function,
            "it_works(db,<my::Aliasas::pgharness::database::Argument>::of(db).await?)",
        );
        check("template = APP", function, "&APP,");
        check("template = APP", function, "asyncfnit_works(db:&TestDb,mutconn:my::Alias)->Result<(),E>{}");
    }

    #[test]
    fn a_test_without_arguments_has_no_database() {
        let text = expanded("", "async fn it_works() -> ExitCode { ExitCode::SUCCESS }").unwrap();
        assert!(text.contains("fnit_works()->ExitCode{asyncfn"), "{text}");
        assert!(text.contains("run_bare(it_works())") && !text.contains("Template"), "{text}");
    }

    #[test]
    fn every_wrong_use_is_told() {
        refuse("migration = \"src\"", POOL, "expected `fixtures(");
        refuse("fixtures", POOL, "expected `fixtures(");
        refuse("migrations(\"src\")", POOL, "expected `fixtures(");
        refuse("migrations = true", POOL, "is redundant");
        refuse("migrations = 1", POOL, "expected a folder, or `false`");
        refuse("migrations = \"no/such\"", POOL, "there is no such folder");
        refuse("migrations = false, migrator = \"M\"", POOL, "more than one `migrations` or `migrator`");
        refuse("migrator = 1", POOL, "expected the path of a static");
        refuse("migrator = \"not a path\"", POOL, "unexpected token");
        refuse("isolation = \"server\"", POOL, "`database` or `cluster`");
        refuse("isolation = cluster", POOL, "`\"database\"` or `\"cluster\"`");
        refuse("template = APP, fixtures(\"a\")", POOL, "a named template has");
        refuse("fixtures(\"a\")", "async fn it_works() {}", "no argument that asks for one");
        refuse("", "async fn it_works(self) {}", "a test has no `self`");
    }
}
