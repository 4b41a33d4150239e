//! Integration tests: one target, so that they link once and share one server.

mod backends;
mod catalog;
mod contract;
mod database;
mod fixture;
mod floors;
mod installation;
mod migration;
mod report;
mod rows;
mod runtime;
mod support;
mod tenancy;
