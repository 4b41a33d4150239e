//! Checks of tenant isolation: a live database is attacked as the roles that services connect as.

mod argument;
mod attack;

mod canary;
mod comparison;
mod conflict_oracle;
mod copies;
mod copy;
mod cross_delete;
mod cross_insert;
mod cross_read;
mod cross_update;
mod dead_policy;
mod deed;
mod definer_function;
mod definer_write;
mod derived;
mod detect;
mod direct;
mod ear;
mod empty_context;
mod enabled;
mod error_detail;
mod examples;
mod expression;
mod fk_cascade;
mod fk_reference;
mod forced;
mod inheritance;
mod insertion;
mod key_oracle;
mod keys;
mod literal;
mod malformed_context;
mod matview;
mod merge;
mod new_partition;
mod no_context;
mod note;
mod null_tenant;
mod onboarded;
mod owner;
mod partition_child;
mod permissive_or;
mod policies;
mod pooled;
mod pooled_context;
mod pooled_role;
mod predicate;
mod probe;
mod publication;
mod reach;
mod reachable_role;
mod references;
mod returning;
mod rights;
mod roles;
mod routine;
mod row_security_off;
mod scene;
mod schema_cross_read;
mod schema_role;
mod schema_search_path;
mod schemas;
mod search;
mod sequence;
mod setters;
mod setting;
mod single;
mod stale_plan;
mod statistics;
mod survey;
mod tables;
mod tenants;
mod ties;
mod transcript;
mod trial;
mod tried;
mod truncate;
mod trust_boundary;
mod view_bypass;
mod without_others;
mod wording;
mod writing;
mod wrong_context;

use super::Check;
#[cfg(feature = "cli")]
pub(crate) use detect::detected;
#[cfg(feature = "cli")]
pub(crate) use roles::MAY_BECOME;
pub(super) use roles::{done_by, grouped, listed};
pub(super) use scene::Scene;
#[cfg(feature = "cli")]
pub(crate) use ties::Detected;

/// The checks of this family.
pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(conflict_oracle::ConflictOracle),
        Box::new(copies::Copies),
        Box::new(copy::Copy),
        Box::new(cross_delete::CrossDelete),
        Box::new(cross_insert::CrossInsert),
        Box::new(cross_read::CrossRead),
        Box::new(cross_update::CrossUpdate),
        Box::new(dead_policy::DeadPolicy),
        Box::new(definer_function::DefinerFunction),
        Box::new(definer_write::DefinerWrite),
        Box::new(empty_context::EmptyContext),
        Box::new(enabled::Enabled),
        Box::new(error_detail::ErrorDetail),
        Box::new(fk_cascade::FkCascade),
        Box::new(fk_reference::FkReference),
        Box::new(forced::Forced),
        Box::new(inheritance::Inheritance),
        Box::new(key_oracle::KeyOracle),
        Box::new(malformed_context::MalformedContext),
        Box::new(matview::Matview),
        Box::new(merge::Merge),
        Box::new(new_partition::NewPartition),
        Box::new(no_context::NoContext),
        Box::new(null_tenant::NullTenant),
        Box::new(onboarded::OnboardedTenant),
        Box::new(owner::Owner),
        Box::new(partition_child::PartitionChild),
        Box::new(permissive_or::PermissiveOr),
        Box::new(pooled_context::PooledContext),
        Box::new(pooled_role::PooledRole),
        Box::new(publication::Publication),
        Box::new(reachable_role::ReachableRole),
        Box::new(returning::Returning),
        Box::new(row_security_off::RowSecurityOff),
        Box::new(schema_cross_read::SchemaCrossRead),
        Box::new(schema_role::SchemaRole),
        Box::new(schema_search_path::SchemaSearchPath),
        Box::new(sequence::Sequence),
        Box::new(stale_plan::StalePlan),
        Box::new(predicate::Predicate),
        Box::new(statistics::Statistics),
        Box::new(truncate::Truncate),
        Box::new(trust_boundary::TrustBoundary),
        Box::new(view_bypass::ViewBypass),
    ]
}
