//! Integration tests: one target, so that they link once and share one server.

mod fixture;
mod floors;
mod migration;
mod support;
