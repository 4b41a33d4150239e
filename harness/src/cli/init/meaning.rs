//! The sections of the file that are from what the migrations made.

use super::file::{File, list};
use super::schema::{Login, Schema};
use crate::check::spelling::{key, quoted};
use std::fmt::Write as _;

impl File {
    pub(super) fn tenancy(&mut self, schema: Option<&Schema>) {
        let Some(schema) = schema else {
            self.text.push('\n');
            self.comment(
                "[tenancy]\nHow tenants are kept apart is read from a schema, and none could be built.",
            );
            return;
        };
        let bound: Vec<&Login> = schema
            .logins
            .iter()
            .filter(|login| login.meets_policies && !login.is_free && !login.may_own)
            .collect();
        let reached = bound.iter().filter(|login| login.logs_in || !login.through.is_empty());
        let attackers: Vec<String> = reached.map(|login| login.name.clone()).collect();
        let taken: Vec<&Login> = bound.iter().filter(|login| !login.logs_in).copied().collect();
        let (column, setting) = (&schema.policy_column, &schema.policy_setting);
        if let (Some(column), Some(setting), false) = (column, setting, attackers.is_empty()) {
            self.found.push(format!(
                "tenants: row-level security on {}, by `{}`",
                tables(schema.secured),
                column.name
            ));
            self.section("tenancy");
            self.value(&format!("{} row-level security.", have(schema.secured)), "model", "\"rls\"");
            self.value(
                &format!("The policies of {} look at it.", tables(column.tables)),
                "column",
                &quoted(&column.name),
            );
            self.value("Policies, or functions that they call, ask for it.", "setting", &quoted(setting));
            let from = if taken.is_empty() {
                "These log in, are bound by policies, and may do something with such tables: they are attacked.".to_owned()
            } else {
                format!(
                    "These are bound by policies, and may do something with such tables: they are attacked. {}",
                    taken.iter().map(|login| told_of_taken(login)).collect::<Vec<_>>().join(" ")
                )
            };
            self.value(&from, "roles", &list(&attackers));
            self.idea("Tables with the column that belong to no tenant.", "exempt", "[\"public.ref_*\"]");
            return;
        }
        self.text.push('\n');
        let mut why = match (schema.secured, &schema.named_column) {
            (0, Some(column)) => format!(
                "{} of {} {} `{}`, and none has row-level security.",
                column.tables,
                tables(schema.tables),
                if column.tables == 1 { "has" } else { "have" },
                column.name
            ),
            (0, None) => "No table has row-level security, or a column that says whose a row is.".to_owned(),
            (secured, _) => format!("{} row-level security.", have(secured)),
        };
        if schema.secured > 0 {
            let lacks = [
                (column.is_none(), "a column that policies look at"),
                (setting.is_none(), "a setting that they ask for"),
                (attackers.is_empty() && bound.is_empty(), "a role that they bind"),
                (
                    attackers.is_empty() && !bound.is_empty(),
                    "a role that logs in and may become one that they bind",
                ),
            ];
            let lacks: Vec<&str> = lacks.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| *what).collect();
            let _ = write!(why, " Not found: {}.", lacks.join(", "));
            for login in &taken {
                let _ = write!(why, " {}", told_of_taken(login));
            }
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
            format!(
                "roles = {}",
                list(&if bound.is_empty() { vec!["web_app".into()] } else { names(&bound) })
            ),
        ] {
            self.line(&format!("# {line}"));
        }
    }

    pub(super) fn roles(&mut self, schema: Option<&Schema>) {
        let logins = schema.map(|schema| schema.logins.as_slice()).unwrap_or_default();
        self.section("roles");
        let mut doors: Vec<&String> = logins.iter().flat_map(|login| &login.through).collect();
        doors.retain(|door| !logins.iter().any(|login| login.name == **door));
        doors.sort();
        doors.dedup();
        let (logins, taken): (Vec<&Login>, Vec<&Login>) = logins.iter().partition(|login| login.logs_in);
        if logins.is_empty() && doors.is_empty() {
            let mut missing = "roles that services connect as".to_owned();
            for login in &taken {
                let _ = write!(missing, "; {}", told_of_taken(login).trim_end_matches('.'));
            }
            self.missing.push(missing);
            self.idea(
                "The roles that services connect as, how many connections their pools hold, and their time-outs.",
                "web_app",
                "{ pool_max = 20, statement_timeout = \"30s\" }",
            );
            return;
        }
        self.found.push(match logins.len() + doors.len() {
            1 => "a role that logs in and has privileges".to_owned(),
            several => format!("{several} roles that log in and have privileges"),
        });
        self.comment(
            "These log in and may do something with the tables; time-outs are those that are set for them. Add \
             `pool_max`, how many connections the pools of a service hold together.",
        );
        for door in doors {
            let taken: Vec<String> = taken
                .iter()
                .filter(|login| login.through.contains(door))
                .map(|login| format!("`{}`", login.name))
                .collect();
            self.comment(&format!("It takes {} by SET ROLE.", taken.join(", ")));
            self.line(&format!("{} = {{}}", key(door)));
        }
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

    pub(super) fn access(&mut self, schema: Option<&Schema>, matrix: &str) {
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
        if matrix.is_empty() {
            self.comment("Every privilege of each role, by table; what is not written is to be refused:");
            self.line("# [access.matrix.web_app]");
            self.line("# \"public.orders\" = [\"select\", \"insert\", \"update\"]");
            return;
        }
        self.comment(
            "What each role may do now: it was tried. Is it meant so? Then it is to stay so, and what is not written is to \
             be refused:",
        );
        for line in matrix.lines() {
            self.line(format!("# {line}").trim_end());
        }
    }

    pub(super) fn structure(&mut self, schema: Option<&Schema>) {
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

fn names(logins: &[&Login]) -> Vec<String> {
    logins.iter().map(|login| login.name.clone()).collect()
}

/// What is to be said of a role that cannot log in.
fn told_of_taken(login: &Login) -> String {
    let by = match login.through.as_slice() {
        [] => ": nobody who logs in may take it by SET ROLE".to_owned(),
        doors => {
            let doors: Vec<String> = doors.iter().map(|door| format!("`{door}`")).collect();
            format!(", and is taken by SET ROLE ({})", doors.join(", "))
        }
    };
    format!("`{}` cannot log in{by}.", login.name)
}

fn tables(count: i64) -> String {
    if count == 1 { "1 table".into() } else { format!("{count} tables") }
}

fn have(count: i64) -> String {
    format!("{} {}", tables(count), if count == 1 { "has" } else { "have" })
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
            logs_in: true,
            through: Vec::new(),
        };
        assert_eq!(timeouts(&login), expect);
    }
}
