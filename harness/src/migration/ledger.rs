//! What a format's own tool keeps in its history, and how.

use super::history::Entry;
use super::source::Migrations;
use super::step::Migration;
use super::took::Took;
use crate::ident::QualifiedName;

/// The history as one tool keeps it. In all SQL, `table` is the table's name, quoted.
pub(super) trait Ledger: Sync {
    /// The name of the table; without a schema it is looked for along the search path.
    fn table(&self) -> &'static str;

    /// Columns that tell the table from others of its name.
    fn columns(&self) -> &'static [&'static str];

    /// The beginning of the table's comment, where the columns alone do not tell.
    fn marker(&self) -> Option<&'static str> {
        None
    }

    /// Creates it, as the tool does.
    fn create(&self, table: &str) -> String;

    /// Asks for what is applied, in the order in which it was: the version, the name, the checksum, the
    /// milliseconds that it took, when it was applied, and whether it was applied to its end.
    fn read(&self, table: &str) -> String;

    /// What `rows` say is applied of `migrations`, where a row does not stand for one migration.
    fn entries(&self, rows: Vec<Entry>, _migrations: &Migrations) -> Vec<Entry> {
        rows
    }

    /// Says that `migration` begins, where the tool does; it is committed at once.
    fn begin(&self, _table: &str, _migration: &Migration) -> Option<String> {
        None
    }

    /// Records `migration`, which is applied; in its transaction, if it has one. The time is the clock's: transactions that
    /// came in one message have one time.
    fn record(&self, table: &str, migration: &Migration, took: Took) -> String;

    /// The keys of the advisory locks that the tool takes while it migrates the database of that name, with its
    /// history in `table`.
    fn locks(&self, _database: &str, _table: &QualifiedName) -> Vec<i64> {
        Vec::new()
    }

    /// What to do about a migration that is recorded as half applied.
    fn mend(&self) -> &'static str {
        "put right by hand what it left, and remove its row from the history"
    }
}

/// A point in time as entries have it, of a column that is `timestamptz`.
pub(super) fn utc(column: &str) -> String {
    local(&format!("{column} at time zone 'UTC'"))
}

/// The same of a column that is `timestamp`: whose time it is, the tool decides.
pub(super) fn local(column: &str) -> String {
    format!("pg_catalog.to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
}
