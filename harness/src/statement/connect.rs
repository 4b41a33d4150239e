//! How to reach a database as one of its roles.

use sqlx::postgres::PgConnectOptions;

/// Leads to one database, as whichever role.
pub trait Connect: Send + Sync {
    /// How to connect as `role`; as the superuser or owner where there is none.
    fn as_role(&self, role: Option<&str>) -> PgConnectOptions;
}

/// Where the server trusts its socket, the name is all that a role needs.
impl Connect for PgConnectOptions {
    fn as_role(&self, role: Option<&str>) -> PgConnectOptions {
        match role {
            Some(role) => self.clone().username(role),
            None => self.clone(),
        }
    }
}
