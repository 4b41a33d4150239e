//! Named SQL statements with parameters drawn from data: hot queries, probes, an old release's queries.
//!
//! A file under `queries/` holds statements, each under a header of comments:
//!
//! ```sql
//! -- name: list_executions
//! -- role: web_app
//! -- set: app.tenant_id = :tenant
//! -- param tenant: from identity.tenants.id
//! -- param since: timestamptz = now() - interval '7 days'
//! -- budget: blocks 40, rows_scanned_per_row 3
//! select * from workflow.executions where started_at > :since order by started_at limit 50
//! ```
//!
//! **How values are bound.** The statement is sent as `PREPARE name AS …` and run as `EXECUTE name('…')`, both
//! in SQL. The server infers each parameter's type from where it stands, as for any driver, and reads each
//! value in its own text form, so no type needs an encoder here. The alternatives change what is measured: a
//! driver's binary protocol wants `$1::text::uuid`, a cast that is no constant to the planner and so moves
//! partition pruning from planning to run time; and literals in the text plan anew each time. `EXECUTE` goes
//! through the same plan cache as a driver's prepared statement, custom plans first and generic ones later,
//! and `EXPLAIN EXECUTE` pastes into psql.

mod connect;
mod header;
mod model;
mod parse;
mod placeholder;
mod random;
mod source;

pub use connect::Connect;
pub use model::{Budget, Origin, Parameter, Setting, SettingValue, Statement};
pub use parse::{parse, read_dir};
pub use random::Random;
pub use source::{Draw, Source};
