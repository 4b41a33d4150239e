//! Hot queries under load, and what the server's own figures say of them.
//!
//! [`look`] runs a statement under `EXPLAIN (ANALYZE, BUFFERS)` and holds what is stable on a noisy machine
//! against its budget: blocks, temporary blocks, rows, rows scanned for each row returned, the shape of the
//! plan. [`drive`] measures time, which is not a gate by itself.
//!
//! The database's statistics are taken as they are: whoever builds it runs ANALYZE.

mod arrival;
mod driver;
mod histogram;
mod look;
mod plan;
mod session;
mod shape;

pub use arrival::Arrivals;
pub use driver::{Figures, Load, drive};
pub use histogram::{Histogram, Summary};
pub use look::{Look, look};
pub use plan::PlanFigures;
pub use shape::Shape;
