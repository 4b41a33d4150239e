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

pub(super) const DEFINER_FUNCTION: &[Example] = crate::examples!(
    "tenancy.definer-function": "bad.sql", "bad_count.sql", "bad_jsonb.sql", "bad_procedure.sql", "bad_quoted.sql", "bad_sign_in.sql", "bad_tenant_argument.sql", "good.sql", "good_forced.sql", "good_no_rows.sql", "good_revoked.sql", "pgharness.toml"
);

pub(super) const PARTITION_CHILD: &[Example] = crate::examples!(
    "tenancy.partition-child": "bad.sql", "bad_below.sql", "bad_change.sql", "good.sql", "good_own_policy.sql", "pgharness.toml"
);

pub(super) const INHERITANCE: &[Example] = crate::examples!(
    "tenancy.inheritance": "bad.sql", "bad_two_parents.sql", "good.sql", "good_closed.sql", "pgharness.toml"
);
