//! Findings and measurements as a report, and its renderings. A report knows nothing of Postgres.

mod html;
mod json;
mod model;
mod number;
pub(crate) mod prose;
mod quotes;
mod table;
mod text;
mod transcript;

pub use html::html;
pub use json::json;
pub use model::{CheckResult, CheckRun, Conclusion, Report};
pub use text::{Colour, text};

#[cfg(test)]
mod tests;
