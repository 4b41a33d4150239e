//! The attribute macro of `pgharness`.

mod arguments;
mod attribute;

use proc_macro::TokenStream;

/// Makes an async function a test with a database of its own.
///
/// The function's arguments say what it wants of it, any of: `TestDb`; `PgPool`; `PoolConnection<Postgres>`; or
/// the pair `PgPoolOptions, PgConnectOptions`. A test that fails, by a panic or by returning `Err`, keeps its
/// database and prints its URL.
///
/// Attributes, all optional: `template = PATH` names a static `Template`. Without it a template is made for
/// the test: `migrations = "folder"` (default: `migrations`, where the package has such a folder; `false` for
/// none), `fixtures("file", …)`, `isolation = "cluster"`.
#[proc_macro_attribute]
pub fn test(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = syn::parse_macro_input!(attributes as attribute::Attributes);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    attribute::expand(attributes, function).unwrap_or_else(syn::Error::into_compile_error).into()
}
