//! What applies the migrations, and what it keeps of that: a history tampered with, a runner without one, without a
//! lock, or that writes it in another transaction; files that no longer are one transaction; ways back that are none.

use super::{Ground, Operator, Site};
use pgharness::migration::Delivery;

/// Where runners of ours note what they applied. They are told from the built-in one by it.
pub(in crate::mutants) const HISTORY: &str = "public.mutant_history";

const HISTORY_CHECK: &[&str] = &["migration.history"];
const CRASH: &[&str] = &["migration.crash-resume"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("history.forget", HISTORY_CHECK, 8, |ground| {
        tampered(ground, |table| format!("delete from {table};"))
    }),
    Operator::files("history.forget-last", HISTORY_CHECK, 8, |ground| {
        tampered(ground, |table| format!("delete from {table} where ctid = (select max(ctid) from {table});"))
    }),
    Operator::files("history.lose", &["migration.clean-apply"], 8, |ground| {
        tampered(ground, |table| format!("drop table {table};"))
    }),
    Operator::files("runner.no-history", &["migration.rerun"], 4, |ground| {
        run_by(ground, |_| format!("for file in '{{dir}}'/*.sql; do {PSQL} -1 -f \"$file\" || exit 1; done"))
    }),
    Operator::files("runner.no-lock", &["migration.concurrent"], 3, |ground| {
        run_by(ground, |_| runner("{ cat \"$file\"; printf '\\n;%s' \"$note\"; } | {PSQL} -1 || exit 1"))
    }),
    Operator::files("runner.split", CRASH, 3, |ground| {
        run_by(ground, |_| runner("{PSQL} -1 -f \"$file\" && {PSQL} -c \"$note\" || exit 1"))
    }),
    Operator::files("transaction.split", CRASH, 4, |ground| {
        let Some(directive) = directive(ground) else { return Vec::new() };
        let sites = ground.files.numbered().filter_map(|(number, migration)| {
            let makes =
                |text: &str| text.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("create table"));
            let is_site = migration.delivery == Delivery::Transaction
                && migration.script.statements().iter().any(|statement| {
                    makes(statement.text) && !statement.text.to_ascii_lowercase().contains("if not exists")
                });
            is_site.then_some(())?;
            let path = ground.files.path(migration);
            // Outside of a transaction `set local` says nothing.
            let text = ground.files.folder.text(path).replace("set local ", "set ");
            let folder = ground.files.until(number).with(path, format!("{directive}\n{text}"));
            Some(Site::files(migration.name(), folder))
        });
        sites.collect()
    }),
    Operator::files(
        "transaction.commit",
        &["migration.clean-apply", "migration.crash-resume"],
        6,
        |ground| {
            let sites = ground.files.numbered().filter_map(|(number, migration)| {
                let statements = migration.script.statements();
                let middle = statements.get(statements.len() / 2).filter(|_| statements.len() > 2)?;
                (migration.delivery == Delivery::Transaction).then_some(())?;
                let path = ground.files.path(migration);
                let text = ground.files.folder.text(path);
                let text = format!("{}commit;\n{}", &text[..middle.offset], &text[middle.offset..]);
                Some(Site::files(migration.name(), ground.files.until(number).with(path, text)))
            });
            sites.collect()
        },
    ),
    Operator::files("guard.drop", CRASH, 4, |ground| {
        let sites = ground.files.numbered().filter_map(|(number, migration)| {
            let path = ground.files.path(migration);
            let text = ground.files.folder.text(path);
            let is_site =
                migration.delivery != Delivery::Transaction && migration.sql().contains("if not exists ");
            let folder = ground.files.until(number).with(path, text.replace("if not exists ", ""));
            is_site.then(|| Site::files(migration.name(), folder))
        });
        sites.collect()
    }),
    Operator::files("down.nothing", &["migration.down"], 4, |ground| {
        let sites = ground.files.numbered().filter_map(|(number, migration)| {
            let down = migration.down.as_ref().filter(|down| down.path() != migration.path())?;
            let path = down.path().strip_prefix(ground.files.migrations.dir()).ok()?;
            Some(Site::files(migration.name(), ground.files.until(number).with(path, "select 1;\n")))
        });
        sites.collect()
    }),
];

const PSQL: &str = "psql -X -q -v ON_ERROR_STOP=1";

/// A runner that goes through the files and applies those that its table does not have, as `apply` says.
fn runner(apply: &str) -> String {
    format!(
        "{PSQL} -c 'create table if not exists {HISTORY} (name text primary key)' || exit 1; \
         for file in '{{dir}}'/*.sql; do name=$(basename \"$file\"); \
         note=\"insert into {HISTORY} values ('$name')\"; \
         test -n \"$({PSQL} -A -t -c \"select 1 from {HISTORY} where name = '$name'\")\" && continue; {}; done",
        apply.replace("{PSQL}", PSQL)
    )
}

/// The first files, for as long as each is one transaction, applied by a command.
fn run_by(ground: &Ground, command: impl Fn(usize) -> String) -> Vec<Site> {
    let is_plain = ground.files.migrations.iter().all(|migration| {
        let path = ground.files.path(migration);
        path.components().count() == 1 && migration.sql() == ground.files.folder.text(path)
    });
    if !is_plain {
        return Vec::new();
    }
    let prefixes = 1..=ground.files.transactional();
    let sites = prefixes.map(|count| {
        Site::files(format!("{count} files"), ground.files.until(count).applied_by(command(count)))
    });
    sites.collect()
}

/// A file behind each that changes the history.
fn tampered(ground: &Ground, statements: impl Fn(&str) -> String) -> Vec<Site> {
    let Some(table) = ground.history.as_ref().map(pgharness::ident::QualifiedName::sql) else {
        return Vec::new();
    };
    let sites = ground.files.numbered().filter_map(|(number, migration)| {
        let folder = ground.files.followed_by(number, &statements(&table))?;
        Some(Site::files(migration.name(), folder))
    });
    sites.collect()
}

/// What a file says first that is to run outside of a transaction.
fn directive(ground: &Ground) -> Option<&'static str> {
    match ground.files.migrations.format()?.name() {
        "plain" | "sqlx" => Some("-- no-transaction"),
        _ => None,
    }
}
