//! The examples of these checks.

use crate::check::Example;

pub(super) const COPIES: &[Example] = crate::examples!(
    "tenancy.copies": "bad.sql", "bad_deleted.sql", "bad_exempt.sql", "bad_matview.sql", "bad_nobodys.sql", "bad_notify.sql", "bad_view.sql", "good.sql", "good_closed.sql", "good_no_login.sql", "good_notify_key.sql", "pgharness.toml"
);

pub(super) const COPY: &[Example] = crate::examples!(
    "tenancy.copy": "bad.sql", "bad_quoted.sql", "bad_view.sql", "good.sql", "good_columns.sql", "good_raises.sql", "pgharness.toml"
);

pub(super) const CROSS_INSERT: &[Example] = crate::examples!(
    "tenancy.cross-insert": "bad.sql", "bad_check_true.sql", "bad_child.sql", "bad_demanding_table.sql", "bad_insert_policy.sql", "bad_literal.sql", "bad_no_policy.sql", "bad_other_column.sql", "bad_partition.sql", "bad_permissive.sql", "bad_view.sql", "good.sql", "good_no_privilege.sql", "good_other_column.sql", "good_partitioned.sql", "good_per_verb.sql", "good_restrictive.sql", "good_text.sql", "good_trigger.sql", "pgharness.toml"
);

pub(super) const CROSS_READ: &[Example] = crate::examples!(
    "tenancy.cross-read": "bad.sql", "bad_child.sql", "bad_dead.sql", "bad_matview.sql", "bad_no_policy.sql", "bad_null_row.sql", "bad_other_column.sql", "bad_partition.sql", "bad_permissive.sql", "bad_view.sql", "bad_wrong_role.sql", "good.sql", "good_no_privilege.sql", "good_other_column.sql", "good_partitioned.sql", "good_restrictive.sql", "good_teammates.sql", "good_teammates_below.sql", "good_text.sql", "good_view.sql", "pgharness.toml"
);

pub(super) const DEAD_POLICY: &[Example] = crate::examples!(
    "tenancy.dead-policy": "bad.sql", "bad_never.sql", "bad_no_policy.sql", "bad_raises.sql", "bad_wrong_role.sql", "good.sql", "good_no_privilege.sql", "pgharness.toml"
);

pub(super) const DEFINER_FUNCTION: &[Example] = crate::examples!(
    "tenancy.definer-function": "bad.sql", "bad_count.sql", "bad_jsonb.sql", "bad_procedure.sql", "bad_quoted.sql", "bad_sign_in.sql", "bad_tenant_argument.sql", "good.sql", "good_forced.sql", "good_no_rows.sql", "good_revoked.sql", "pgharness.toml"
);

pub(super) const EMPTY_CONTEXT: &[Example] = crate::examples!(
    "tenancy.empty-context": "bad.sql", "bad_function.sql", "bad_shared.sql", "good.sql", "good_raises.sql", "good_text.sql", "pgharness.toml"
);

pub(super) const ENABLED: &[Example] = crate::examples!(
    "tenancy.enabled": "bad.sql", "bad_no_policy.sql", "bad_partitioned.sql", "bad_quoted.sql", "good.sql", "good_lookup.sql", "pgharness.toml"
);

pub(super) const ERROR_DETAIL: &[Example] = crate::examples!(
    "tenancy.error-detail": "bad.sql", "bad_function.sql", "bad_hint.sql", "good.sql", "good_trigger.sql", "pgharness.toml"
);

pub(super) const FORCED: &[Example] = crate::examples!(
    "tenancy.forced": "bad.sql", "bad_member.sql", "bad_migrator.sql", "good.sql", "good_superuser.sql", "pgharness.toml"
);

pub(super) const INHERITANCE: &[Example] = crate::examples!(
    "tenancy.inheritance": "bad.sql", "bad_two_parents.sql", "good.sql", "good_closed.sql", "pgharness.toml"
);

pub(super) const MALFORMED_CONTEXT: &[Example] = crate::examples!(
    "tenancy.malformed-context": "bad.sql", "bad_beginning.sql", "bad_injection.sql", "bad_swallowed.sql", "good.sql", "good_text.sql", "pgharness.toml"
);

pub(super) const MATVIEW: &[Example] = crate::examples!(
    "tenancy.matview": "bad.sql", "bad_column.sql", "bad_sum.sql", "good.sql", "good_lookup.sql", "pgharness.toml"
);

pub(super) const NEW_PARTITION: &[Example] = crate::examples!(
    "tenancy.new-partition": "bad.sql", "bad_by_hand.sql", "bad_grant.sql", "bad_unlike.sql", "good.sql", "good_by_hand.sql", "pgharness.toml"
);

pub(super) const NO_CONTEXT: &[Example] = crate::examples!(
    "tenancy.no-context": "bad.sql", "bad_child.sql", "bad_dead.sql", "bad_empty_string.sql", "bad_fails_open.sql", "bad_matview.sql", "bad_no_policy.sql", "bad_null_row.sql", "bad_other_column.sql", "bad_partition.sql", "bad_permissive.sql", "bad_view.sql", "good.sql", "good_no_privilege.sql", "good_other_column.sql", "good_partitioned.sql", "good_raises.sql", "good_restrictive.sql", "good_text.sql", "good_view.sql", "pgharness.toml"
);

pub(super) const NULL_TENANT: &[Example] = crate::examples!(
    "tenancy.null-tenant": "bad.sql", "bad_shared.sql", "bad_text.sql", "good.sql", "good_text.sql", "pgharness.toml"
);

pub(super) const ONBOARDED: &[Example] = crate::examples!(
    "tenancy.onboarded": "bad.sql", "bad_grants.sql", "good.sql", "good_closed.sql", "pgharness.toml"
);

pub(super) const OWNER: &[Example] = crate::examples!(
    "tenancy.owner": "bad.sql", "bad_member.sql", "good.sql", "pgharness.toml"
);

pub(super) const PARTITION_CHILD: &[Example] = crate::examples!(
    "tenancy.partition-child": "bad.sql", "bad_below.sql", "bad_delete.sql", "good.sql", "good_own_policy.sql", "pgharness.toml"
);

pub(super) const PERMISSIVE_OR: &[Example] = crate::examples!(
    "tenancy.permissive-or": "bad.sql", "bad_flag.sql", "bad_partition.sql", "good.sql", "good_per_verb.sql", "pgharness.toml"
);

pub(super) const PUBLICATION: &[Example] = crate::examples!(
    "tenancy.publication": "bad.sql", "bad_all_tables.sql", "good.sql", "good_others.sql", "pgharness.toml"
);

pub(super) const REACHABLE_ROLE: &[Example] = crate::examples!(
    "tenancy.reachable-role": "bad.sql", "bad_bypass.sql", "bad_owner.sql", "good.sql", "pgharness.toml"
);

pub(super) const ROW_SECURITY_OFF: &[Example] = crate::examples!(
    "tenancy.row-security-off": "bad.sql", "bad_setting.sql", "good.sql", "good_owner.sql", "pgharness.toml"
);

pub(super) const SCHEMA_CROSS_READ: &[Example] = crate::examples!(
    "tenancy.schema-cross-read": "bad.sql", "bad_onboarded.sql", "bad_one_role.sql", "bad_shared_view.sql", "bad_wrong_role.sql", "good.sql", "good_logins.sql", "good_onboarded.sql", "pgharness.toml"
);

pub(super) const SCHEMA_ROLE: &[Example] = crate::examples!(
    "tenancy.schema-role": "bad.sql", "bad_inherits.sql", "bad_pooled.sql", "good.sql", "pgharness.toml"
);

pub(super) const SCHEMA_SEARCH_PATH: &[Example] = crate::examples!(
    "tenancy.schema-search-path": "bad.sql", "bad_left.sql", "bad_shadow.sql", "good.sql", "pgharness.toml"
);

pub(super) const SEQUENCE: &[Example] = crate::examples!(
    "tenancy.sequence": "bad.sql", "bad_serial.sql", "good.sql", "good_uuid.sql", "pgharness.toml"
);

pub(super) const TRUST_BOUNDARY: &[Example] = crate::examples!(
    "tenancy.trust-boundary": "bad.sql", "bad_claims.sql", "good.sql", "pgharness.toml"
);

pub(super) const VIEW_BYPASS: &[Example] = crate::examples!(
    "tenancy.view-bypass": "bad.sql", "bad_barrier.sql", "bad_column.sql", "bad_count.sql", "good.sql", "good_bound_owner.sql", "good_condition.sql", "pgharness.toml"
);
