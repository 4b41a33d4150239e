//! What the macros write down of a template: const, so that it can be a static.

use super::isolation::Isolation;
use super::template::{Template, TemplateBuilder};
use crate::error::Result;
use crate::migration::Migrations;
use sqlx::migrate::Migrator;
use std::path::Path;

/// What `template!` and `#[pgharness::test]` write down.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    pub manifest_dir: &'static str,
    pub migrations: Option<&'static str>,
    /// The folder that the package has without naming it, if it has one.
    pub migrations_if_there: bool,
    pub migrator: Option<fn() -> &'static Migrator>,
    pub fixtures: &'static [&'static str],
    pub included: &'static [Included],
    pub bootstrap: &'static [&'static str],
    pub extensions: &'static [&'static str],
    pub migrator_role: Option<&'static str>,
    pub isolation: Isolation,
}

/// A fixture that is compiled in.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Included {
    /// Where it is named, as the compiler calls that file.
    pub source_file: &'static str,
    /// Relative to that file.
    pub path: &'static str,
    pub text: &'static str,
}

impl Declared {
    /// Nothing but the package's folder.
    #[doc(hidden)]
    pub const fn new(manifest_dir: &'static str) -> Self {
        Declared {
            manifest_dir,
            migrations: None,
            migrations_if_there: false,
            migrator: None,
            fixtures: &[],
            included: &[],
            bootstrap: &[],
            extensions: &[],
            migrator_role: None,
            isolation: Isolation::Database,
        }
    }

    pub(super) fn builder(&self) -> Result<TemplateBuilder> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut builder = Template::builder(self.manifest_dir)
            .with_fixtures(own(self.fixtures))
            .with_bootstrap(own(self.bootstrap))
            .with_extensions(own(self.extensions))
            .with_isolation(self.isolation);
        if let Some(dir) = self.migrations {
            builder = builder.with_migrations(dir);
        }
        if self.migrations_if_there
            && let Some(dir) = Migrations::folder_of_package(builder.root())?
        {
            builder = builder.with_migrations(dir);
        }
        if let Some(migrator) = self.migrator {
            builder = builder.with_migrator(migrator());
        }
        if let Some(role) = self.migrator_role {
            builder = builder.with_migrator_role(role);
        }
        for included in self.included {
            builder = builder.with_fixture_text(included.name(), included.text);
        }
        Ok(builder)
    }
}

impl Included {
    /// As the compiler would call it: from the folder that it ran in.
    fn name(&self) -> String {
        Path::new(self.source_file).with_file_name(self.path).to_string_lossy().into_owned()
    }
}
