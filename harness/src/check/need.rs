//! What a check cannot run without.

use super::project::{Project, TenancyModel};
use crate::server::Capability;
use std::fmt;

/// Something that a check cannot run without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Need {
    /// Something that the server can do.
    Can(Capability),
    /// Migrations.
    Migrations,
    /// Migrations, or a live database.
    Schema,
    /// Tenants kept apart by row-level security.
    RowTenancy,
    /// Tenants kept apart by a schema each.
    SchemaTenancy,
    /// A procedure that creates a tenant.
    Onboarding,
    /// Declared roles.
    Roles,
    /// Tables declared append-only.
    AppendOnly,
    /// Tables declared immutable.
    Immutable,
    /// Declared privileges.
    Matrix,
    /// Declared tables.
    ExpectedTables,
    /// Declared partitioned tables.
    Partitions,
    /// Declared retention.
    Retention,
    /// A committed snapshot.
    Snapshot,
    /// A generator of the project's own model.
    Model,
    /// The names of the tenants' schemas.
    TenantSchemas,
    /// A live database.
    Live,
    /// A previous release.
    OldRelease,
    /// What may be applied somewhere.
    Locked,
}

impl Need {
    /// Whether the project meets it; what a server can do is no project's.
    pub fn is_met(self, project: &Project) -> bool {
        let tenancy = |model| project.tenancy.as_ref().is_some_and(|tenancy| tenancy.model == model);
        match self {
            Need::Can(_) => false,
            Need::Migrations => project.has_migrations(),
            Need::Schema => project.has_migrations() || project.live.is_some(),
            // Where nothing is said of it, the policies may tell.
            Need::RowTenancy => project.tenancy.is_none() || tenancy(TenancyModel::Rls),
            Need::SchemaTenancy => tenancy(TenancyModel::Schema),
            Need::Onboarding => project.tenancy.as_ref().is_some_and(|tenancy| tenancy.onboard.is_some()),
            Need::Roles => !project.roles.is_empty(),
            Need::AppendOnly => !project.access.append_only.is_empty(),
            Need::Immutable => !project.access.immutable.is_empty(),
            Need::Matrix => !project.access.matrix.is_empty(),
            Need::ExpectedTables => !project.structure.expected_tables.is_empty(),
            Need::Partitions => !project.structure.partitions.is_empty(),
            Need::Retention => !project.structure.retention.is_empty(),
            Need::Snapshot => project.snapshot.file.is_some(),
            Need::Model => project.snapshot.model.is_some(),
            Need::TenantSchemas => project.tenancy.as_ref().is_some_and(|tenancy| tenancy.schemas.is_some()),
            Need::Live => project.live.is_some(),
            Need::OldRelease => project.old_release.is_some(),
            Need::Locked => project.migrations.lock.is_some() || project.since().is_some(),
        }
    }
}

/// As the object of "needs …".
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::Can(capability) => return capability.fmt(f),
            Need::Migrations => "a folder of migrations (`migrations.dir`)",
            Need::Schema => "a folder of migrations (`migrations.dir`), or a live database (`--live URL`)",
            Need::RowTenancy => "`tenancy.model = \"rls\"`",
            Need::SchemaTenancy => "`tenancy.model = \"schema\"`",
            Need::Onboarding => "`tenancy.onboard`",
            Need::Roles => "`[roles]`",
            Need::AppendOnly => "`access.append_only`",
            Need::Immutable => "`access.immutable`",
            Need::Matrix => "`[access.matrix]`",
            Need::ExpectedTables => "`structure.expected_tables`",
            Need::Partitions => "`[structure.partitions]`",
            Need::Retention => "`[structure.retention]`",
            Need::Snapshot => "`snapshot.file`",
            Need::Model => "`snapshot.model`",
            Need::TenantSchemas => "`tenancy.schemas`",
            Need::Live => "a live database (`--live URL`)",
            Need::OldRelease => "`checks.old_release`",
            Need::Locked => "`migrations.lock` or `migrations.since`",
        })
    }
}
