//! The examples of these checks.

use crate::check::Example;

pub(super) const APPEND_ONLY: &[Example] = crate::examples!(
    "access.append-only": "bad.sql", "bad_cascade.sql", "bad_owner.sql", "bad_partition.sql", "bad_quoted.sql", "bad_rule.sql", "bad_truncate.sql", "good.sql", "good_partitioned.sql", "good_triggers.sql", "pgharness.toml"
);

pub(super) const DEFAULT_PRIVILEGES: &[Example] = crate::examples!(
    "access.default-privileges": "bad.sql", "bad_closed.sql", "bad_function.sql", "bad_function_closed.sql", "bad_function_public.sql", "bad_history.sql", "bad_public.sql", "bad_schema.sql", "bad_schema_public.sql", "bad_sequence.sql", "bad_sequence_public.sql", "good.sql", "good_function.sql", "good_function_public.sql", "good_none.sql", "good_schema.sql", "good_sequence.sql", "good_two_owners.sql", "pgharness.toml"
);

pub(super) const DEFINER_SEARCH_PATH: &[Example] = crate::examples!(
    "access.definer-search-path": "bad.sql", "bad_function.sql", "bad_pinned.sql", "bad_procedure.sql", "good.sql", "pgharness.toml"
);

pub(super) const IMMUTABLE: &[Example] = crate::examples!(
    "access.immutable": "bad.sql", "bad_compares.sql", "bad_replace.sql", "good.sql", "good_compares.sql", "pgharness.toml"
);

pub(super) const MATRIX: &[Example] = crate::examples!(
    "access.matrix": "bad.sql", "bad_column.sql", "bad_function.sql", "bad_missing.sql", "bad_partition.sql", "bad_public.sql", "good.sql", "good_partition.sql", "good_policy.sql", "good_routines.sql", "pgharness.toml"
);

pub(super) const OWNER_LOGIN: &[Example] = crate::examples!(
    "access.owner-login": "bad.sql", "bad_member.sql", "good.sql", "pgharness.toml"
);

pub(super) const PUBLIC_GRANTS: &[Example] = crate::examples!(
    "access.public-grants": "bad.sql", "bad_closed.sql", "bad_definer.sql", "bad_schema.sql", "good.sql", "good_policy.sql", "pgharness.toml"
);

pub(super) const ROLE_ATTRIBUTES: &[Example] = crate::examples!(
    "access.role-attributes": "bad.sql", "bad_chain.sql", "bad_superuser.sql", "good.sql", "pgharness.toml"
);
