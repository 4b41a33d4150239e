//! Integration tests: one target, so that they link once and share one server.

mod floors;
mod report;
mod support;
