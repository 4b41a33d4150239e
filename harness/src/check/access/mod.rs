//! Checks of who may do what: tried as the roles themselves.

mod append_only;
mod deed;
mod default_privileges;
mod definer_search_path;
mod examples;
mod final_rows;
mod immutable;
mod matrix;
mod measured;
mod nobody;
mod objects;
mod owner_login;
mod public_grants;
mod role_attributes;
mod roles;
mod settled;
mod shadows;
mod verb;

pub(super) use append_only::AppendOnly;
pub(super) use default_privileges::DefaultPrivileges;
pub(super) use definer_search_path::DefinerSearchPath;
pub(super) use immutable::ImmutableRows;
pub(super) use matrix::Matrix;
pub use measured::measured_matrix;
pub(super) use owner_login::OwnerLogin;
pub(super) use public_grants::PublicGrants;
pub(super) use role_attributes::RoleAttributes;
