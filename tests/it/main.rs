//! Integration tests: one target, so that they link once and share one server.

mod backends;
mod database;
mod floors;
mod installation;
mod support;
