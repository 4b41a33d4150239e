//! The attribute macro of `pgharness`.

mod arguments;
mod attribute;
mod fixtures;

use proc_macro::TokenStream;

/// Makes an async function a test, with a database of its own: a drop-in for `#[sqlx::test]`, with all its attributes.
///
/// The function's arguments say what it wants of the database, any of: `PgPool`; `PoolConnection<Postgres>`; the pair
/// `PgPoolOptions, PgConnectOptions`; or `TestDb`. One without arguments runs without a database. A test that fails,
/// by a panic or by returning `Err`, keeps its database and prints its URL.
///
/// The attributes, all optional:
///
/// | Attribute | |
/// |---|---|
/// | `migrations = "folder"` | applies the migrations in this folder of the package; default: `migrations`, where there is one |
/// | `migrations = false` | applies none |
/// | `migrator = "path::to::MIGRATOR"` | applies those of a static `sqlx::migrate::Migrator` |
/// | `fixtures("users", "posts.sql")` | loads files of the folder `fixtures` beside the source file, in this order |
/// | `fixtures("./other/users.sql")` | loads files by their paths from the source file |
/// | `fixtures(path = "../other", scripts("users"))` | loads files of another folder; `fixtures` may be given several times |
/// | `template = PATH` | clones a static `Template` instead |
/// | `isolation = "cluster"` | gives the test a server of its own |
#[proc_macro_attribute]
pub fn test(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = syn::parse_macro_input!(attributes as attribute::Attributes);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    attribute::expand(&attributes, &function).unwrap_or_else(syn::Error::into_compile_error).into()
}
