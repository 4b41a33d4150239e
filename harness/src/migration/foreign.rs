//! Histories that other tools keep.

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

/// The names of the tables in which known tools keep their history.
pub fn tables() -> impl Iterator<Item = &'static str> {
    FOREIGN.iter().map(|foreign| foreign.table)
}

/// Whose history the table is, by its name and its columns.
pub(super) fn owner(table: &str, columns: &[String]) -> Option<&'static ForeignHistory> {
    const GOLANG: &ForeignHistory = &GOLANG_MIGRATE;
    if table == GOLANG.table && columns.iter().any(|column| column == "dirty") {
        return Some(GOLANG);
    }
    FOREIGN.iter().find(|foreign| foreign.table == table)
}
