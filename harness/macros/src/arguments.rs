//! What a test function asks for, by the types of its arguments.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, Signature, Type};

/// The expressions to pass to the test, in its arguments' order; `db` is a reference to the database.
pub(crate) fn values(signature: &Signature) -> syn::Result<Vec<TokenStream>> {
    signature.inputs.iter().map(value).collect()
}

fn value(argument: &FnArg) -> syn::Result<TokenStream> {
    let FnArg::Typed(argument) = argument else {
        return Err(syn::Error::new_spanned(argument, "a test has no `self`"));
    };
    match last_segment(&argument.ty).as_deref() {
        Some("TestDb") if matches!(*argument.ty, Type::Reference(_)) => Ok(quote! { db }),
        Some("TestDb") => Ok(quote! { db.share() }),
        Some("PgPool" | "Pool") => Ok(quote! { db.pool().await? }),
        Some("PoolConnection") => Ok(quote! { db.pool().await?.acquire().await? }),
        Some("PgPoolOptions" | "PoolOptions") => Ok(quote! { ::pgharness::TestDb::pool_options() }),
        Some("PgConnectOptions") => Ok(quote! { db.options() }),
        _ => Err(syn::Error::new_spanned(
            &argument.ty,
            "a test can ask for `TestDb`, `&TestDb`, `PgPool`, `PoolConnection<Postgres>`, `PgPoolOptions` or `PgConnectOptions`",
        )),
    }
}

/// The name of a type, without its path, its reference and its parameters.
fn last_segment(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Reference(reference) => last_segment(&reference.elem),
        _ => None,
    }
}
