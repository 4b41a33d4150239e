//! Integration tests: one target, so that they link once and share one server.

mod catalog;
mod floors;
mod support;
