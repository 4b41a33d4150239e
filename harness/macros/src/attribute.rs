//! The attributes of the macro, and what it expands to.

use crate::arguments;
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, ItemFn, Lit, LitStr, Path, Token, parenthesized};

/// What stands in the parentheses of `#[pgharness::test(…)]`.
#[derive(Default)]
pub(crate) struct Attributes {
    template: Option<Path>,
    migrations: Option<Migrations>,
    fixtures: Vec<LitStr>,
    is_cluster: bool,
}

enum Migrations {
    In(LitStr),
    None,
}

impl Parse for Attributes {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attributes = Attributes::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            match name.to_string().as_str() {
                "template" => {
                    input.parse::<Token![=]>()?;
                    attributes.template = Some(input.parse()?);
                }
                "migrations" => {
                    input.parse::<Token![=]>()?;
                    attributes.migrations = Some(match input.parse::<Lit>()? {
                        Lit::Str(folder) => Migrations::In(folder),
                        Lit::Bool(on) if !on.value => Migrations::None,
                        other => return Err(syn::Error::new_spanned(other, "a folder, or `false`")),
                    });
                }
                "fixtures" => {
                    let list;
                    parenthesized!(list in input);
                    attributes.fixtures =
                        Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?.into_iter().collect();
                }
                "isolation" => {
                    input.parse::<Token![=]>()?;
                    let level: LitStr = input.parse()?;
                    attributes.is_cluster = match level.value().as_str() {
                        "cluster" => true,
                        "database" => false,
                        _ => return Err(syn::Error::new_spanned(level, "`database` or `cluster`")),
                    };
                }
                _ => {
                    return Err(syn::Error::new_spanned(
                        name,
                        "unknown attribute; known ones: template, migrations, fixtures, isolation",
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(attributes)
    }
}

pub(crate) fn expand(attributes: Attributes, function: ItemFn) -> syn::Result<TokenStream> {
    let ItemFn { attrs, vis, sig, block } = &function;
    if sig.asyncness.is_none() {
        return Err(syn::Error::new_spanned(sig.fn_token, "a test with a database is an `async fn`"));
    }
    let template = template(&attributes)?;
    let values = arguments::values(sig)?;
    let (name, inputs, output, generics) = (&sig.ident, &sig.inputs, &sig.output, &sig.generics);
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() {
            async fn #name #generics (#inputs) #output #block
            #template
            ::pgharness::database::run_test(
                concat!(module_path!(), "::", stringify!(#name)),
                TEMPLATE,
                async |db: &::pgharness::TestDb| {
                    Ok(::pgharness::database::outcome(#name(#(#values),*).await))
                },
            );
        }
    })
}

/// The item `TEMPLATE`: a reference to the named template, or to one of the test's own.
fn template(attributes: &Attributes) -> syn::Result<TokenStream> {
    if let Some(path) = &attributes.template {
        if attributes.migrations.is_some() || !attributes.fixtures.is_empty() || attributes.is_cluster {
            return Err(syn::Error::new_spanned(
                path,
                "a named template has its migrations, fixtures and isolation itself",
            ));
        }
        return Ok(quote! { static TEMPLATE: &::pgharness::Template = &#path; });
    }
    let migrations = match &attributes.migrations {
        Some(Migrations::In(folder)) => quote! { declared.migrations = Some(#folder); },
        Some(Migrations::None) => quote! {},
        None => quote! { declared.migrations_if_there = true; },
    };
    let fixtures = &attributes.fixtures;
    let level: Expr = if attributes.is_cluster {
        syn::parse_quote! { ::pgharness::Isolation::Cluster }
    } else {
        syn::parse_quote! { ::pgharness::Isolation::Database }
    };
    Ok(quote! {
        static OWN: ::pgharness::Template = ::pgharness::Template::declared({
            let mut declared = ::pgharness::Declared::new(env!("CARGO_MANIFEST_DIR"));
            #migrations
            declared.fixtures = &[#(#fixtures),*];
            declared.isolation = #level;
            declared
        });
        static TEMPLATE: &::pgharness::Template = &OWN;
    })
}
