//! Putting a database back that saw nothing but changes of rows, instead of dropping it and cloning another.
//!
//! That nothing else happened is proved by the server's log, after every session has left: each change of a permanent
//! relation is in it, whoever made it and with whatever settings. Rows that came are told by the transaction that
//! made them; rows that went are missed by number, and loaded again. What cannot be proved or put back is dropped.

use super::journal::{Traces, Written};
use super::original::{Original, Table};
use super::stock::Stock;
use super::work::Work;
use crate::error::{Error, Result};
use crate::ident::quote_literal;
use crate::postgres::Lsn;
use crate::server::Server;
use crate::wait::{self, Look};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::time::Duration;

/// A table that grew by more pages than this is not worth putting back: what is left of its rows slows it down.
const GROWTH_MAX: u32 = 128;
/// Nor is a database for the hundredth time, for the same reason.
const USES_MAX: u32 = 100;
/// The sessions of a test that has ended leave within this time, or its database is dropped.
const LEAVING: Duration = Duration::from_millis(100);

/// A database that a test has.
pub(super) struct Loan {
    pub(super) stock: Rc<Stock>,
    pub(super) oid: u32,
    /// A transaction: what rows later ones made are not the template's.
    pub(super) mark: u32,
    /// The place in the log before which nothing concerns it.
    pub(super) since: Lsn,
    pub(super) uses: u32,
}

/// A database that was put back, and a connection to it if one was needed.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) oid: u32,
    pub(super) mark: u32,
    pub(super) uses: u32,
    pub(super) connection: Option<PgConnection>,
}

/// Puts the database `name` back, under another name: whoever still has the old one must not meet the next test.
/// `is_connected`: with a connection to it in any case.
///
/// # Errors
/// Something else than rows changed, or may have, or it is not worth it. Then the database is to be dropped, by the
/// name that it has by then.
pub(super) async fn put_back(
    work: &Work,
    name: &mut String,
    loan: Loan,
    is_connected: bool,
) -> Result<Spare> {
    if loan.uses >= USES_MAX {
        return Err(unfit("it was put back often enough"));
    }
    let server = work.server();
    wait::until_async("the sessions of a database to leave", LEAVING, async || {
        Ok(match work.looker.sessions(&server, loan.oid).await? {
            0 => Look::Ready(()),
            count => Look::NotYet(format!("{count} are there")),
        })
    })
    .await?;
    let new = work.claimed_name();
    if let Err(error) = work.looker.rename(&server, name, &new).await {
        work.is_refused(&new, &error);
        return Err(error);
    }
    work.drops.own(&new);
    work.drops.disown(&std::mem::replace(name, new));
    let verdict = work.looker.look(&server, name, &loan.stock.template_name()).await?;
    if !verdict.is_alike {
        return Err(unfit("its settings, its privileges or its comment were changed"));
    }
    let written = work.loans.written(loan.oid, verdict.end)?;
    let original = loan.stock.original(&server)?;
    let plan = Plan::of(&original, &written)?;
    let mut connection = None;
    let mut mark = loan.mark;
    if !plan.is_empty() || is_connected {
        connection = Some(server.connect(name).await?);
    }
    if let Some(connection) = connection.as_mut().filter(|_| !plan.is_empty()) {
        let end;
        (mark, end) = plan.carry_out(connection, mark, &server).await?;
        work.loans.clear(loan.oid, end)?;
    }
    Ok(Spare { name: name.clone(), oid: loan.oid, mark, uses: loan.uses + 1, connection })
}

/// What is to be done to put a database back.
#[derive(Default)]
struct Plan<'a> {
    /// Tables that rows came to, and the pages that may have some.
    additions: Vec<(&'a Table, Pages)>,
    /// Those whose own rows may have gone.
    losses: Vec<&'a Table>,
    /// Statements that move sequences to where they were.
    sequences: Vec<String>,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// Something was written to that cannot be put back, or that was not there when the template was built.
    fn of(original: &'a Original, written: &Written) -> Result<Plan<'a>> {
        let mut plan = Plan::default();
        let mut unexplained = written.relations.clone();
        for table in &original.tables {
            let traces = unexplained.remove(&table.filenode);
            if let Some(traces) = traces.or((!table.is_logged).then_some(Traces::UNKNOWN)) {
                plan.add(table, traces)?;
            }
        }
        for sequence in &original.sequences {
            let traces = unexplained.remove(&sequence.filenode);
            if traces.is_some() || !sequence.is_logged {
                let name = quote_literal(&sequence.name);
                let (last_value, is_called) = (sequence.last_value, sequence.is_called);
                plan.sequences.push(format!("select setval({name}, {last_value}, {is_called})"));
            }
            if traces.is_some_and(|traces| traces.other || traces.adds || traces.removes) {
                return Err(unfit(&format!("sequence {} was altered", sequence.name)));
            }
        }
        for toast in &original.toast {
            unexplained.remove(toast);
        }
        match unexplained.keys().min() {
            Some(filenode) => {
                Err(unfit(&format!("the relation in file {filenode} is not a table's of its template")))
            }
            None => Ok(plan),
        }
    }

    fn add(&mut self, table: &'a Table, traces: Traces) -> Result<()> {
        if traces.other || traces.counts || !table.is_plain {
            return Err(unfit(&format!("table {} cannot be put back", table.name)));
        }
        if traces.last_page > table.pages.saturating_add(GROWTH_MAX) {
            return Err(unfit(&format!("table {} has grown", table.name)));
        }
        self.additions.push((table, Pages::of(table, traces)));
        if traces.removes && table.rows > 0 {
            // Of a large table it would take as long to count them as to clone it. One that the log says nothing of is
            // counted, as most tests do nothing to it.
            if table.seed.is_none() && table.is_logged {
                return Err(too_large(table));
            }
            self.losses.push(table);
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.additions.is_empty() && self.sequences.is_empty()
    }

    /// Gives the transaction that it was done in, and a place in the log behind it.
    async fn carry_out(
        &self,
        connection: &mut PgConnection,
        mark: u32,
        server: &Server,
    ) -> Result<(u32, Lsn)> {
        let mut sql = self.first_message(mark);
        if !self.losses.is_empty() {
            let counts = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).fetch_all(&mut *connection).await?;
            sql.clear();
            // The message's last rows are the counts, in the order of the tables.
            let counts = &counts[counts.len().saturating_sub(self.losses.len())..];
            for (table, row) in self.losses.iter().zip(counts) {
                if row.try_get::<i64, _>(0)? != table.rows {
                    sql.push_str(&reload(table, server)?);
                }
            }
        }
        sql.push_str(
            "select pg_current_xact_id()::xid::text::int8; commit; select pg_current_wal_flush_lsn()::text",
        );
        if !self.sequences.is_empty() {
            // What this session knows of them is not the next test's.
            sql.push_str("; discard sequences");
        }
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        let [.., mark, end] = rows.as_slice() else { return Err(unfit("putting it back failed")) };
        let mark = u32::try_from(mark.try_get::<i64, _>(0)?)
            .map_err(|_| Error::server("a transaction's number is too large"))?;
        Ok((mark, Lsn::parse(end.try_get(0)?)?))
    }

    /// Begins a transaction whose commit waits for the log to be written, which that of one with nothing but a number
    /// does not; takes away the rows that came, and counts what is left where some may have gone.
    fn first_message(&self, mark: u32) -> String {
        // As a replica no trigger fires, no rule applies and no foreign key is checked.
        let mut sql = "begin isolation level read committed read write;
             set local synchronous_commit = on;
             set local session_replication_role = replica;
             set local search_path = pg_catalog;
             set local statement_timeout = 0;
             set local lock_timeout = 0;
             set local row_security = on;\n"
            .to_owned()
            + "select pg_logical_emit_message(true, 'pgharness', '');\n";
        for (table, pages) in &self.additions {
            let name = &table.name;
            let _ = if table.rows == 0 {
                writeln!(sql, "delete from only {name};")
            } else {
                writeln!(sql, "delete from only {name} where {pages} and age(xmin) < age('{mark}'::xid);")
            };
        }
        for sequence in &self.sequences {
            let _ = writeln!(sql, "{sequence};");
        }
        for table in &self.losses {
            let _ = writeln!(sql, "select count(*) from only {};", table.name);
        }
        sql
    }
}

/// Pages of a table, from the first on and before `end`; a condition when displayed. Of a large table with a new row only
/// those are read: the row may lie in the first page, where there was room.
struct Pages {
    first: u32,
    end: Option<u32>,
}

impl Pages {
    fn of(table: &Table, traces: Traces) -> Pages {
        let end = table.is_logged.then(|| traces.last_page.saturating_add(1));
        Pages { first: traces.first_page, end }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ctid >= '({},0)'", self.first)?;
        match self.end {
            Some(end) => write!(f, " and ctid < '({end},0)'"),
            None => Ok(()),
        }
    }
}

/// The statements that load a table's own rows again.
fn reload(table: &Table, server: &Server) -> Result<String> {
    let name = &table.name;
    let (Some(seed), Some(data)) = (&table.seed, server.data()) else {
        return Err(too_large(table));
    };
    let path = quote_literal(&data.join(seed).to_string_lossy());
    Ok(format!("delete from only {name}; copy {name} from {path};\n"))
}

fn too_large(table: &Table) -> Error {
    unfit(&format!("rows of table {} went, and it is too large to be loaded again", table.name))
}

fn unfit(why: &str) -> Error {
    Error::server(format!("the database cannot be put back: {why}"))
}

impl Traces {
    /// Of a table whose changes are not in the log.
    const UNKNOWN: Traces =
        Traces { adds: true, removes: true, counts: false, other: false, first_page: 0, last_page: 0 };
}
