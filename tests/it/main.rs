//! Integration tests: one target, so that they link once and share one server.

mod database;
mod external;
mod field;
mod floors;
mod keeper;
mod surroundings;
