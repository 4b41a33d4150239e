//! `template!`.

/// Declares a [`Template`](crate::Template): const, so that it can be a static. All parts may be left out;
/// paths are relative to the package's folder.
///
/// ```
/// use pgharness::{Isolation, Template, template};
///
/// static EMPTY: Template = template! {};
///
/// static WITH_SERVER: Template = template! {
///     isolation: Isolation::Cluster,
/// };
/// ```
///
/// The parts, in any order: `migrations: "folder"`, or `migrator: path::to::MIGRATOR` of sqlx; `fixtures: ["file", …]`, `bootstrap: ["file", …]`,
/// `extensions: ["name", …]`, `migrator_role: "role"`, `isolation: Isolation::…`.
#[macro_export]
macro_rules! template {
    ($($part:ident : $value:tt $(:: $rest:ident)*),* $(,)?) => {
        $crate::Template::declared({
            #[allow(unused_mut, reason = "a template without parts changes nothing")]
            let mut declared = $crate::Declared::new(env!("CARGO_MANIFEST_DIR"));
            $($crate::template!(@part declared $part $value $(:: $rest)*);)*
            declared
        })
    };
    (@part $declared:ident migrations $value:literal) => { $declared.migrations = Some($value) };
    (@part $declared:ident migrator $($path:tt)*) => { $declared.migrator = Some(|| &$($path)*) };
    (@part $declared:ident migrator_role $value:literal) => { $declared.migrator_role = Some($value) };
    (@part $declared:ident fixtures [$($value:literal),* $(,)?]) => { $declared.fixtures = &[$($value),*] };
    (@part $declared:ident bootstrap [$($value:literal),* $(,)?]) => { $declared.bootstrap = &[$($value),*] };
    (@part $declared:ident extensions [$($value:literal),* $(,)?]) => { $declared.extensions = &[$($value),*] };
    (@part $declared:ident isolation $($value:tt)*) => { $declared.isolation = $($value)* };
    (@part $declared:ident $other:ident $($value:tt)*) => {
        compile_error!(concat!(
            "unknown part `", stringify!($other),
            "` of a template; known ones: migrations, migrator, fixtures, bootstrap, extensions, migrator_role, isolation"
        ))
    };
}
