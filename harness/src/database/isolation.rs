//! How far a test's database is kept apart from others.

/// What a test has to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// A database. Roles, their memberships and settings, parameter privileges, tablespaces and subscriptions
    /// are shared by all databases of a server.
    #[default]
    Database,
    /// A whole server, started for the test from a copied data directory: for tests that create, alter or drop
    /// roles, or kill, stop or exhaust the server. It ends with its test, and is not kept when that fails.
    Cluster,
}
