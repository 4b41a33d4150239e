//! What a test function asks for, by the types of its arguments.

use crate::attribute::refused;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Signature, Type};

/// The expressions to pass to the test, in its arguments' order; `db` is a reference to the database.
pub(crate) fn values(signature: &Signature) -> syn::Result<Vec<TokenStream>> {
    signature.inputs.iter().map(value).collect()
}

fn value(argument: &FnArg) -> syn::Result<TokenStream> {
    let FnArg::Typed(argument) = argument else {
        return Err(refused(argument, "a test has no `self`"));
    };
    Ok(match &*argument.ty {
        // The one thing that can be lent.
        Type::Reference(_) => quote! { db },
        // By its type and not by its name, so that an alias is as good. At its place, where rustc then complains.
        ty => quote_spanned! { ty.span() => <#ty as ::pgharness::database::Argument>::of(db).await? },
    })
}
