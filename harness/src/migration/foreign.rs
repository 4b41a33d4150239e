//! Histories that other tools keep.

use crate::error::{Error, ErrorKind};
use crate::ident::QualifiedName;

/// A table in which another tool keeps its history, and how that tool is run.
#[derive(Debug)]
pub(super) struct ForeignHistory {
    table: &'static str,
    pub(super) tool: &'static str,
    pub(super) command: &'static str,
}

macro_rules! foreign {
    ($($table:literal $tool:literal $command:literal;)*) => {
        &[$(ForeignHistory { table: $table, tool: $tool, command: $command }),*]
    };
}

/// `schema_migrations` is the name that several tools use, the built-in runner among them.
const FOREIGN: &[ForeignHistory] = foreign! {
    "_sqlx_migrations" "sqlx" "sqlx migrate run";
    "__diesel_schema_migrations" "diesel" "diesel migration run";
    "refinery_schema_history" "refinery" "refinery migrate -e DATABASE_URL";
    "goose_db_version" "goose" "goose postgres \"$DATABASE_URL\" up";
    "flyway_schema_history" "flyway" "flyway migrate";
    "databasechangelog" "liquibase" "liquibase update";
    "alembic_version" "alembic" "alembic upgrade head";
    "django_migrations" "django" "python manage.py migrate";
    "_prisma_migrations" "prisma" "prisma migrate deploy";
    "__drizzle_migrations" "drizzle" "drizzle-kit migrate";
    "knex_migrations" "knex" "knex migrate:latest";
    "atlas_schema_revisions" "atlas" "atlas migrate apply --url \"$DATABASE_URL\"";
    "seaql_migrations" "sea-orm" "sea-orm-cli migrate up";
    "schema_migrations" "dbmate" "dbmate migrate";
};

const GOLANG_MIGRATE: ForeignHistory = ForeignHistory {
    table: "schema_migrations",
    tool: "golang-migrate",
    command: "migrate -path migrations -database \"$DATABASE_URL\" up",
};

/// The SQLSTATE of a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// The names of the tables in which known tools keep their history.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    FOREIGN.iter().map(|foreign| foreign.table)
}

/// Says of a migration that failed for want of another tool's history that only that tool can apply it.
pub(super) fn advise(error: Error) -> Error {
    let missing = error.sqlstate().is_some_and(|code| code == UNDEFINED_TABLE);
    match wanted(&error.to_string()).filter(|_| missing) {
        Some(foreign) => error.with_help(format!(
            "`{}` is the history of {}, which alone can apply this: set `command = \"{}\"` under `[migrations]`",
            foreign.table,
            foreign.tool,
            foreign.command.replace('"', "\\\"")
        )),
        None => error,
    }
}

/// Whose history the first line of an error names.
fn wanted(message: &str) -> Option<&'static ForeignHistory> {
    // Words rather than quotes: quotes are the language's, and a schema may stand before the name.
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let first = message.lines().next()?;
    // `schema_migrations` may be anybody's.
    let telling = |foreign: &&ForeignHistory| foreign.table != GOLANG_MIGRATE.table;
    FOREIGN
        .iter()
        .filter(telling)
        .find(|foreign| first.split(|c| !is_part(c)).any(|word| word == foreign.table))
}

/// Whose history the table is, by its name and its columns.
pub(super) fn owner(table: &str, columns: &[String]) -> Option<&'static ForeignHistory> {
    const GOLANG: &ForeignHistory = &GOLANG_MIGRATE;
    if table == GOLANG.table && columns.iter().any(|column| column == "dirty") {
        return Some(GOLANG);
    }
    FOREIGN.iter().find(|foreign| foreign.table == table)
}

/// Another tool keeps its history in this database, or a table of other use has the name of ours.
pub(super) fn not_ours(table: &QualifiedName, columns: &[String], database: &str, tool: &str) -> Error {
    match owner(&table.name, columns).filter(|owner| owner.tool != tool) {
        Some(foreign) => Error::new(
            ErrorKind::Migration,
            format!("database `{database}` is migrated by {}: it has the history `{table}`", foreign.tool),
        )
        .with_help(format!(
            "let that tool migrate it (`command = \"{}\"` under `[migrations]`), set `format` if the files are its own, \
             or begin with an empty database",
            foreign.command.replace('"', "\\\"")
        )),
        None => {
            let whose = if tool == "plain" { "pgharness" } else { tool };
            Error::new(
                ErrorKind::Migration,
                format!("`{table}` of database `{database}` is not a history of {whose}"),
            )
            .with_help("name another table as `history` under `[migrations]`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("relation \"public._sqlx_migrations\" does not exist", Some("sqlx"))]
    #[case("Relation »alembic_version« existiert nicht", Some("alembic"))]
    #[case("relation \"my_sqlx_migrations\" does not exist", None)]
    #[case("relation \"schema_migrations\" does not exist", None)]
    #[case("relation \"people\" does not exist\n  8 | from _sqlx_migrations", None)]
    fn the_tool_whose_history_is_missing_is_told(#[case] message: &str, #[case] expected: Option<&str>) {
        assert_eq!(wanted(message).map(|foreign| foreign.tool), expected);
    }
}
