//! The file that is written, with a word on where each line is from.

use super::folder::{Folder, Migrated};
use super::growth::Growth;
use super::schema::{Login, Schema};
use crate::migration::Format;
use std::fmt::Write as _;

/// How long a line of a comment is.
const WIDTH: usize = 110;

/// The file in the making.
#[derive(Debug, Default)]
pub(super) struct File {
    text: String,
    found: Vec<String>,
    missing: Vec<String>,
}

impl File {
    /// What the folder shows, and what the migrations made, where that was tried.
    pub(super) fn of(folder: &Folder, growth: Option<&Growth>) -> File {
        let mut file = File::default();
        file.comment(
            "Written by `pgharness init`. Each line that is a guess says from what; what stands behind a `#` is for you \
             to decide. `pgharness explain` lists what is checked.",
        );
        file.postgres(folder, growth);
        file.migrations(folder, growth);
        file.fixtures(folder, growth);
        file.snapshot(folder);
        file.checks(folder);
        let schema = growth.and_then(|growth| growth.schema.as_ref());
        file.tenancy(schema);
        file.roles(schema);
        file.access(schema);
        file.structure(schema);
        if let Some(failure) = growth.and_then(|growth| growth.failure.as_ref()) {
            let first = failure.lines().next().unwrap_or_default();
            file.missing.push(format!("the schema: the migrations could not be applied ({first})"));
        }
        file
    }

    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    /// What was found, a line each.
    pub(super) fn found(&self) -> &[String] {
        &self.found
    }

    /// What was not.
    pub(super) fn missing(&self) -> &[String] {
        &self.missing
    }

    fn comment(&mut self, text: &str) {
        for paragraph in text.lines() {
            let mut line = String::from("#");
            for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
                if line.len() + word.len() >= WIDTH && line.len() > 1 {
                    self.line(&line);
                    line = String::from("#");
                }
                line.push(' ');
                line.push_str(word);
            }
            self.line(line.trim_end());
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        self.text.push('\n');
        self.line(&format!("[{name}]"));
    }

    /// A line that holds, and where it is from.
    fn value(&mut self, from: &str, key: &str, value: &str) {
        self.comment(from);
        self.line(&format!("{key} = {value}"));
    }

    /// A line for the reader to decide, and why it is there.
    fn idea(&mut self, why: &str, key: &str, value: &str) {
        self.comment(why);
        self.line(&format!("# {key} = {value}"));
    }

    fn postgres(&mut self, folder: &Folder, growth: Option<&Growth>) {
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
        match &folder.bootstrap {
            Some(pattern) => {
                self.found.push(format!("what comes before the migrations (`{pattern}`)"));
                self.value(
                    "SQL that is run once as superuser, before any migration: files that are there by this name.",
                    "bootstrap",
                    &format!("[{}]", quoted(pattern)),
                );
            }
            None => self.idea(
                "SQL that creates roles and the like, run once as superuser before any migration.",
                "bootstrap",
                "[\"db/roles.sql\"]",
            ),
        }
        let roles = growth.map(|growth| growth.roles.as_slice()).unwrap_or_default();
        if !roles.is_empty() {
            self.missing
                .push(format!("who creates the roles {}, which the migrations name", roles.join(", ")));
            let created: Vec<String> =
                roles.iter().map(|role| format!("create role \"{role}\" login;")).collect();
            self.comment(&format!(
                "The migrations name roles that nobody creates. Write a file for `bootstrap`, without LOGIN for groups:\n{}",
                created.join("\n")
            ));
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

    fn migrations(&mut self, folder: &Folder, growth: Option<&Growth>) {
        self.section("migrations");
        match &folder.migrated {
            Some(Migrated::Folder { dir, format, files }) => {
                self.found.push(format!("{files} migrations in `{dir}`, as {format} has them"));
                let from = format!("{files} files in it look like those of {format}.");
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
            .and_then(|schema| schema.logins.iter().find(|login| login.may_own));
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

    fn fixtures(&mut self, folder: &Folder, growth: Option<&Growth>) {
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

    fn snapshot(&mut self, folder: &Folder) {
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

    fn checks(&mut self, folder: &Folder) {
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

    fn tenancy(&mut self, schema: Option<&Schema>) {
        let Some(schema) = schema else {
            self.text.push('\n');
            self.comment(
                "[tenancy]\nHow tenants are kept apart is read from a schema, and none could be built.",
            );
            return;
        };
        let attackers: Vec<String> = schema
            .logins
            .iter()
            .filter(|login| login.meets_policies && !login.is_free && !login.may_own)
            .map(|login| login.name.clone())
            .collect();
        let (column, setting) = (&schema.policy_column, &schema.policy_setting);
        if let (Some(column), Some(setting), false) = (column, setting, attackers.is_empty()) {
            self.found.push(format!(
                "tenants: row-level security on {} tables, by `{}`",
                schema.secured, column.name
            ));
            self.section("tenancy");
            self.value(&format!("{} tables have row-level security.", schema.secured), "model", "\"rls\"");
            self.value(
                &format!("The policies of {} tables look at it.", column.tables),
                "column",
                &quoted(&column.name),
            );
            self.value("Policies, or functions that they call, ask for it.", "setting", &quoted(setting));
            self.value(
                "These log in, are bound by policies, and may do something with such tables: they are attacked.",
                "roles",
                &list(&attackers),
            );
            self.idea("Tables with the column that belong to no tenant.", "exempt", "[\"public.ref_*\"]");
            return;
        }
        self.text.push('\n');
        let mut why = match (schema.secured, &schema.named_column) {
            (0, Some(column)) => format!(
                "{} of {} tables have `{}`, and none has row-level security.",
                column.tables, schema.tables, column.name
            ),
            (0, None) => "No table has row-level security, or a column that says whose a row is.".to_owned(),
            (secured, _) => format!("{secured} tables have row-level security."),
        };
        if schema.secured > 0 {
            let lacks = [
                (column.is_none(), "a column that policies look at"),
                (setting.is_none(), "a setting that they ask for"),
                (attackers.is_empty(), "a role that logs in and that they bind"),
            ];
            let lacks: Vec<&str> = lacks.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| *what).collect();
            let _ = write!(why, " Not found: {}.", lacks.join(", "));
        }
        self.missing.push(format!("how tenants are kept apart: {why}"));
        let guess = column.as_ref().or(schema.named_column.as_ref());
        let column = guess.map_or("tenant_id", |column| &column.name);
        self.comment(&why);
        self.line("# [tenancy]");
        for line in [
            "model = \"rls\"".to_owned(),
            format!("column = {}", quoted(column)),
            format!("setting = {}", quoted(setting.as_deref().unwrap_or("app.tenant_id"))),
            "roles = [\"web_app\"]".to_owned(),
        ] {
            self.line(&format!("# {line}"));
        }
    }

    fn roles(&mut self, schema: Option<&Schema>) {
        let logins = schema.map(|schema| schema.logins.as_slice()).unwrap_or_default();
        self.section("roles");
        if logins.is_empty() {
            self.missing.push("roles that services connect as".into());
            self.idea(
                "The roles that services connect as, how many connections their pools hold, and their time-outs.",
                "web_app",
                "{ pool_max = 20, statement_timeout = \"30s\" }",
            );
            return;
        }
        self.found.push(format!("{} roles that log in and have privileges", logins.len()));
        self.comment(
            "These log in and may do something with the tables; time-outs are those that are set for them. Add \
             `pool_max`, how many connections the pools of a service hold together.",
        );
        for login in logins.iter().filter(|login| !login.may_own) {
            self.line(&format!("{} = {}", key(&login.name), timeouts(login)));
        }
        for login in logins.iter().filter(|login| login.may_own) {
            self.idea(
                "It may become the owner of tables, as who migrates does.",
                &key(&login.name),
                &timeouts(login),
            );
        }
    }

    fn access(&mut self, schema: Option<&Schema>) {
        self.section("access");
        let append_only = schema.map(|schema| schema.append_only.as_slice()).unwrap_or_default();
        if append_only.is_empty() {
            self.idea("Tables whose rows are only ever added.", "append_only", "[\"public.audit_*\"]");
        } else {
            self.idea(
                "Somebody may add rows to these, and nobody who logs in may change or remove any: are they meant so?",
                "append_only",
                &list(append_only),
            );
        }
        self.idea("Tables whose rows never change.", "immutable", "[\"public.versions\"]");
        self.comment("Every privilege of each role, by table; what is not written is to be refused:");
        self.line("# [access.matrix.web_app]");
        self.line("# \"public.orders\" = [\"select\", \"insert\", \"update\"]");
    }

    fn structure(&mut self, schema: Option<&Schema>) {
        self.section("structure");
        self.idea("Tables that must exist.", "expected_tables", "[\"public.orders\"]");
        let windows = schema.map(|schema| schema.windows.as_slice()).unwrap_or_default();
        for window in windows {
            self.found.push(format!("`{}` in partitions of time", window.table));
            self.comment(&format!(
                "It has {} partitions ahead of today and {} behind: which ones must there be at any time, and what makes \
                 them?",
                window.ahead, window.behind
            ));
            self.line(&format!("# [structure.partitions.{}]", quoted(&window.table)));
            let every = window.every.as_deref().unwrap_or("month");
            for line in [
                format!("every = {}", quoted(every)),
                format!("ahead = {}", window.ahead),
                format!("behind = {}", window.behind),
                "procedure = \"call roll_partitions()\"".to_owned(),
            ] {
                self.line(&format!("# {line}"));
            }
        }
        self.comment("Tables whose rows are removed after a while, and by what:");
        self.line("# [structure.retention]");
        self.line("# \"public.events\" = { keep = \"90 days\", procedure = \"call purge_events()\" }");
    }
}

/// What is set for a role, as a table of TOML.
fn timeouts(login: &Login) -> String {
    let set = [
        ("statement_timeout", login.statement_timeout),
        ("idle_in_transaction_session_timeout", login.idle_timeout),
    ];
    let set: Vec<String> = set
        .iter()
        .filter_map(|(name, millis)| millis.filter(|millis| *millis > 0).map(|millis| (name, millis)))
        .map(|(name, millis)| match millis % 1000 {
            0 => format!("{name} = \"{}s\"", millis / 1000),
            _ => format!("{name} = \"{millis}ms\""),
        })
        .collect();
    if set.is_empty() { "{}".into() } else { format!("{{ {} }}", set.join(", ")) }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key of TOML.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, None, "{}")]
    #[case(
        Some(30_000),
        Some(1_500),
        "{ statement_timeout = \"30s\", idle_in_transaction_session_timeout = \"1500ms\" }"
    )]
    #[case(Some(0), None, "{}")]
    fn time_outs_are_written_as_they_are_read(
        #[case] statement: Option<i64>,
        #[case] idle: Option<i64>,
        #[case] expect: &str,
    ) {
        let login = Login {
            name: "a".into(),
            statement_timeout: statement,
            idle_timeout: idle,
            is_free: false,
            may_own: false,
            meets_policies: false,
        };
        assert_eq!(timeouts(&login), expect);
    }

    #[test]
    fn names_that_are_no_bare_keys_are_quoted() {
        assert_eq!((key("web_app").as_str(), key("Web App").as_str()), ("web_app", "\"Web App\""));
    }

    #[test]
    fn nothing_is_found_in_nothing_and_the_file_can_be_read() {
        let file = File::of(&Folder::default(), None);
        assert_eq!(file.found(), [""; 0]);
        assert!(file.missing().iter().any(|line| line.starts_with("migrations")), "{:?}", file.missing());
        let text = file.text();
        crate::suite::Config::read(std::path::Path::new("pgharness.toml"), &text).unwrap();
        assert!(text.lines().all(|line| line.len() <= WIDTH + 40), "{text}");
    }
}
