//! Integration tests: one target, so that they link once and share one server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod backends;
mod catalog;
mod contract;
mod database;
mod fixture;
mod floors;
mod installation;
mod load;
mod migration;
mod report;
mod rows;
mod runtime;
mod statement;
mod support;
mod tenancy;
