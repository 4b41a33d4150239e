//! Checks of tenant isolation: a live database is attacked as the roles that services connect as.

mod attack;
mod cross_insert;
mod cross_read;
mod examples;
mod no_context;
mod probe;
mod roles;
mod survey;
mod tables;
mod tenants;

pub(super) use cross_insert::CrossInsert;
pub(super) use cross_read::CrossRead;
pub(super) use no_context::NoContext;
pub(super) use roles::{grouped, listed};
