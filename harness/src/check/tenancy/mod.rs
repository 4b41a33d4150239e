//! Checks of tenant isolation: a live database is attacked as the roles that services connect as.

mod argument;
mod attack;
mod cross_insert;
mod cross_read;
mod definer_function;
mod direct;
mod examples;
mod inheritance;
mod no_context;
mod partition_child;
mod probe;
mod roles;
mod routine;
mod survey;
mod tables;
mod tenants;
mod trial;
mod without_others;

pub(super) use cross_insert::CrossInsert;
pub(super) use cross_read::CrossRead;
pub(super) use definer_function::DefinerFunction;
pub(super) use inheritance::Inheritance;
pub(super) use no_context::NoContext;
pub(super) use partition_child::PartitionChild;
