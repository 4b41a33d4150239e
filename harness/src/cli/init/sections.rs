//! The sections of the file that are from what lies in the folder.

use super::file::{File, ROLES_FILE, first_line, list};
use super::folder::{Folder, Migrated};
use super::growth::Growth;
use crate::check::spelling::quoted;
use crate::migration::Format;

impl File {
    pub(super) fn postgres(&mut self, folder: &Folder, growth: Option<&Growth>) {
        self.section("postgres");
        let lacking = growth.and_then(|growth| growth.version.as_ref());
        match (&folder.image, lacking) {
            (Some(image), None) => {
                self.found.push(format!("Postgres {} (`{}`)", image.major, image.file));
                let from = format!("`{}` runs `{}`.", image.file, image.name);
                self.value(&from, "version", &quoted(&image.major.to_string()));
            }
            (Some(image), Some(why)) => {
                self.missing
                    .push(format!("a server of version {}, which `{}` names", image.major, image.file));
                let why = format!(
                    "`{}` runs `{}`, and no server of that version can be had here: {}",
                    image.file,
                    image.name,
                    first_line(why)
                );
                self.idea(&why, "version", &quoted(&image.major.to_string()));
            }
            (None, _) => {
                self.missing.push("which version of Postgres you run (no compose file says it)".into());
                self.idea(
                    "Nothing says which version you run: what is found here is used.",
                    "version",
                    "\"16\"",
                );
            }
        }
        let exact = folder.image.as_ref().and_then(|image| image.exact.clone());
        self.idea(
            "The exact version in production: `operations.server-version` then asks which fixes it lacks.",
            "deployed",
            &quoted(&exact.unwrap_or_else(|| "16.4".into())),
        );
        let roles = growth.map(|growth| growth.roles.as_slice()).unwrap_or_default();
        let mut bootstrap: Vec<String> = folder.bootstrap.iter().cloned().collect();
        if let Some(pattern) = &folder.bootstrap {
            self.found.push(format!("what comes before the migrations (`{pattern}`)"));
        }
        if !roles.is_empty() {
            bootstrap.push(ROLES_FILE.into());
            self.missing.push(format!(
                "who creates the roles {}, which the migrations name: for the checks `{ROLES_FILE}` does",
                roles.join(", ")
            ));
            self.comment(&format!(
                "The migrations name roles that nobody here creates ({}): `{ROLES_FILE}` creates them for the checks. Look \
                 which of them are to log in.",
                roles.join(", ")
            ));
        }
        if let Some(lacking) = growth.and_then(|growth| growth.lacking.as_ref()) {
            self.comment(&format!("Not found: {}.", lacking.told()));
        }
        let from = "SQL that is run once as superuser, before any migration";
        if bootstrap.is_empty() {
            self.idea(&format!("{from}: roles and the like."), "bootstrap", "[\"db/roles.sql\"]");
        } else {
            self.value(
                &format!("{from}: files that are there by this name."),
                "bootstrap",
                &list(&bootstrap),
            );
        }
        if let Some(schema) = growth.and_then(|growth| growth.schema.as_ref())
            && !schema.extensions.is_empty()
        {
            self.idea(
                "The migrations create these themselves; those that need a superuser are named here.",
                "extensions",
                &list(&schema.extensions),
            );
        }
    }

    pub(super) fn migrations(&mut self, folder: &Folder, growth: Option<&Growth>) {
        self.section("migrations");
        match &folder.migrated {
            Some(Migrated::Folder { dir, format, files }) => {
                self.found.push(format!("migrations in `{dir}`, as {format} has them ({files})"));
                let from = format!("The files in it ({files}) look like those of {format}.");
                self.value(&from, "dir", &quoted(dir));
                self.line(&format!("format = {}", quoted(format.name())));
                if *format == Format::Plain {
                    self.idea("Where the history is kept.", "history", "\"public.schema_migrations\"");
                }
            }
            Some(Migrated::Command { line, file, .. }) => {
                self.found.push(format!("`{file}`: the migrations are applied by `{line}`"));
                let from =
                    format!("`{file}` is there. The command gets `DATABASE_URL`, and runs in this folder.");
                self.value(&from, "command", &quoted(line));
            }
            None => {
                self.missing.push("migrations: no folder of them, and no tool's own file".into());
                self.idea(
                    "No folder of migrations was found, and no file of a tool.",
                    "dir",
                    "\"migrations\"",
                );
                self.line("# command = \"alembic upgrade head\"");
            }
        }
        for (dir, why) in &folder.unreadable {
            self.missing.push(format!("how to read `{dir}`: {}", first_line(why)));
            self.comment(&format!("`{dir}` looks like migrations, and cannot be read: {why}"));
        }
        if let Some(failure) = growth.and_then(|growth| growth.failure.as_ref()) {
            self.comment(&format!(
                "They could not be applied, so that nothing below is from the schema:\n{failure}"
            ));
        }
        let owner = growth
            .and_then(|growth| growth.schema.as_ref())
            .and_then(|schema| schema.logins.iter().find(|login| login.may_own && login.logs_in));
        match owner {
            Some(login) => self.idea(
                &format!("`{}` may become the owner of tables: is it the role that migrates?", login.name),
                "migrator_role",
                &quoted(&login.name),
            ),
            None => self.idea(
                "The role that applies them; without one, a superuser.",
                "migrator_role",
                "\"migrator\"",
            ),
        }
        self.idea(
            "What may be applied somewhere must not be edited: `pgharness lock` writes it.",
            "lock",
            "\"migrations.lock\"",
        );
    }

    pub(super) fn fixtures(&mut self, folder: &Folder, growth: Option<&Growth>) {
        self.section("fixtures");
        let failure = growth.and_then(|growth| growth.fixtures.as_ref());
        match (&folder.fixtures, failure) {
            (Some(pattern), None) => {
                self.found.push(format!("seed data (`{pattern}`)"));
                self.value(
                    "Rows that databases begin with: files that are there by this name.",
                    "files",
                    &format!("[{}]", quoted(pattern)),
                );
            }
            (Some(pattern), Some(why)) => {
                self.missing.push(format!("seed data: `{pattern}` cannot be loaded ({})", first_line(why)));
                self.idea(
                    &format!("These files are there, and cannot be loaded:\n{why}"),
                    "files",
                    &format!("[{}]", quoted(pattern)),
                );
            }
            (None, _) => {
                self.missing.push("seed data".into());
                self.idea(
                    "No seed data were found; where checks need rows, they make some up.",
                    "files",
                    "[\"fixtures/*.sql\"]",
                );
            }
        }
        if folder.has_queries {
            self.found.push("queries (`queries/*.sql`)".into());
        }
    }

    pub(super) fn snapshot(&mut self, folder: &Folder) {
        self.section("snapshot");
        if folder.has_snapshot {
            self.found.push("a committed snapshot (`schema.snapshot`)".into());
            self.value("The file is there.", "file", "\"schema.snapshot\"");
        } else {
            self.idea(
                "The schema as text, to be reviewed with each change: `pgharness drift --accept` writes it.",
                "file",
                "\"schema.snapshot\"",
            );
        }
        let model = match &folder.migrated {
            Some(Migrated::Command { model: Some(model), .. }) => Some(model.as_str()),
            _ if folder.has_sqlx => Some("cargo sqlx prepare --check"),
            _ => None,
        };
        if let Some(model) = model {
            self.idea("The project's own tool says whether its model agrees.", "model", &quoted(model));
        }
    }

    pub(super) fn checks(&mut self, folder: &Folder) {
        self.section("checks");
        self.idea("Disciplines that a project chooses.", "opt_in", "[\"migration.expand-only\"]");
        let queries = if folder.has_queries { ", queries = \"queries\"" } else { "" };
        let sqlx = if folder.has_sqlx { ", sqlx = \".sqlx\"" } else { "" };
        self.idea(
            "The release before this one, whose statements must still work.",
            "old_release",
            &format!("{{ git = \"v1.0\"{queries}{sqlx} }}"),
        );
    }
}
