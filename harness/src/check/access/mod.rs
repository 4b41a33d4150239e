//! Checks of who may do what: tried as the roles themselves.

mod append_only;
mod deed;
mod default_privileges;
mod defaults;
mod definer_search_path;
mod examples;
mod final_rows;
mod immutable;
mod matrix;
mod measured;
mod next_object;
mod nobody;
mod objects;
mod owner_login;
mod public_grants;
mod role_attributes;
mod roles;
mod settled;
mod shadows;
mod verb;

use super::Check;

pub use measured::measured_matrix;

/// The checks of this family.
pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(append_only::AppendOnly),
        Box::new(default_privileges::DefaultPrivileges),
        Box::new(definer_search_path::DefinerSearchPath),
        Box::new(immutable::ImmutableRows),
        Box::new(matrix::Matrix),
        Box::new(owner_login::OwnerLogin),
        Box::new(public_grants::PublicGrants),
        Box::new(role_attributes::RoleAttributes),
    ]
}
