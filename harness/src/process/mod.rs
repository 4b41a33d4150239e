//! Starting, waiting for and ending other programs: the only room that starts processes.
//!
//! Three rules hold for every child. Its standard streams are files or null, never pipes of ours: a
//! grandchild that inherits one could otherwise keep a reader waiting, or make a test runner report a
//! leak. It is the leader of a process group of its own, so that it ends with all its descendants. And it
//! inherits no descriptor of ours: cargo's jobserver pipes would otherwise live on in a server.

mod lock;
mod program;
mod signal;
mod thread;
mod user;

pub use lock::FileLock;
pub use program::{Finished, Program, Running};
pub use signal::Signal;
#[cfg(feature = "explore")]
pub(crate) use signal::is_stopped;
pub(crate) use signal::{is_there, send};
pub(crate) use thread::on_a_thread;
pub use user::User;
pub(crate) use user::{effective_uid, home_dir};
