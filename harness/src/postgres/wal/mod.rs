//! The write-ahead log, read from its files: which relations of which databases were written to.
//!
//! Everything that changes a permanent relation is in the log, whoever did it and whatever was set in its session:
//! unlike the statistics counters, which a superuser can switch off or reset. Unlogged tables are not in it.
//! Layout: `access/xlogrecord.h`, `access/xlog_internal.h`, and the `*xlog.h` of the access methods.

mod log;
mod record;

pub(super) use log::PAGE;
pub(crate) use log::{Log, Lsn};
pub(crate) use record::{Change, Effect};
