//! Integration tests: one target, so that they link once and share one server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod backends;
mod catalog;
mod catalog_completeness;
mod checks;
mod command_line;
mod command_line_database;
mod contract;
mod database;
mod dropin;
mod explore;
mod extensions;
mod external;
mod field;
mod fixture;
mod floors;
mod formats;
mod handover;
mod installation;
mod keeper;
mod kept;
mod load;
mod migration;
mod pool;
mod raw;
mod real_input;
mod real_tools;
mod recycling;
mod report;
mod rows;
mod runtime;
mod statement;
mod support;
mod surroundings;
mod tenancy;
mod wire;
