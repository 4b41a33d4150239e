//! The examples of these checks.

use crate::check::Example;

pub(super) const NO_CONTEXT: &[Example] = crate::examples!(
    "tenancy.no-context": "bad.sql", "bad_child.sql", "bad_dead.sql", "bad_empty_string.sql", "bad_fails_open.sql", "bad_matview.sql", "bad_no_policy.sql", "bad_null_row.sql", "bad_other_column.sql", "bad_partition.sql", "bad_permissive.sql", "bad_view.sql", "good.sql", "good_no_privilege.sql", "good_other_column.sql", "good_partitioned.sql", "good_raises.sql", "good_restrictive.sql", "good_text.sql", "good_view.sql", "pgharness.toml"
);

pub(super) const CROSS_READ: &[Example] = crate::examples!(
    "tenancy.cross-read": "bad.sql", "bad_child.sql", "bad_dead.sql", "bad_matview.sql", "bad_no_policy.sql", "bad_null_row.sql", "bad_other_column.sql", "bad_partition.sql", "bad_permissive.sql", "bad_view.sql", "bad_wrong_role.sql", "good.sql", "good_no_privilege.sql", "good_other_column.sql", "good_partitioned.sql", "good_restrictive.sql", "good_text.sql", "good_view.sql", "pgharness.toml"
);

pub(super) const CROSS_INSERT: &[Example] = crate::examples!(
    "tenancy.cross-insert": "bad.sql", "bad_check_true.sql", "bad_child.sql", "bad_demanding_table.sql", "bad_insert_policy.sql", "bad_no_policy.sql", "bad_other_column.sql", "bad_partition.sql", "bad_permissive.sql", "bad_view.sql", "good.sql", "good_no_privilege.sql", "good_other_column.sql", "good_partitioned.sql", "good_per_verb.sql", "good_restrictive.sql", "good_text.sql", "good_trigger.sql", "pgharness.toml"
);
