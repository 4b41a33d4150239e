//! How a project keeps its tenants apart.

use serde::Deserialize;

/// What keeps tenants apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenancyModel {
    /// Row-level security on shared tables.
    Rls,
    /// A schema and a role for each.
    Schema,
}

/// How a project keeps its tenants apart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenancy {
    /// What keeps them apart.
    pub model: TenancyModel,
    /// The column that says whose a row is.
    #[serde(default = "tenant_id")]
    pub column: String,
    /// The setting that says who is asking: `app.tenant_id`; or the part of a document that does:
    /// `request.jwt.claims ->> sub`. What policies read, if not said.
    pub setting: Option<String>,
    /// The roles that services connect as, which are attacked.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Tables that belong to no tenant, with `*` for any characters.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// Where each tenant has a schema: what their names are like, with `*` for the tenant: `tenant_*`.
    pub schemas: Option<String>,
    /// The statement that creates a tenant, given its id as `$1`.
    pub onboard: Option<String>,
}

fn tenant_id() -> String {
    "tenant_id".into()
}
