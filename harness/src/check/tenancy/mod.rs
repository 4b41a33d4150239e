//! Checks of tenant isolation: a live database is attacked as the roles that services connect as.

mod attack;
mod cross_delete;
mod cross_insert;
mod cross_read;
mod cross_update;
mod examples;
mod no_context;
mod probe;
mod rights;
mod roles;
mod survey;
mod tables;
mod tenants;
mod writing;

pub(super) use cross_delete::CrossDelete;
pub(super) use cross_insert::CrossInsert;
pub(super) use cross_read::CrossRead;
pub(super) use cross_update::CrossUpdate;
pub(super) use no_context::NoContext;
