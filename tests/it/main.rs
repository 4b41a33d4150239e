//! Integration tests: one target, so that they link once and share one server.

mod contract;
mod floors;
mod load;
mod runtime;
mod statement;
mod support;
