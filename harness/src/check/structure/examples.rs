//! The examples of these checks.

use crate::check::Example;

pub(super) const COLUMN_TYPE: &[Example] = crate::examples!(
    "structure.column-type": "bad.sql", "bad_all.sql", "good.sql", "pgharness.toml"
);

pub(super) const CONVENTIONS: &[Example] = crate::examples!(
    "structure.conventions": "bad.sql", "bad_prefix.sql", "bad_time.sql", "good.sql", "pgharness.toml"
);

pub(super) const EXPECTED_TABLES: &[Example] = crate::examples!(
    "structure.expected-tables": "bad.sql", "bad_view.sql", "good.sql", "pgharness.toml"
);

pub(super) const FK_INDEX: &[Example] = crate::examples!(
    "structure.fk-index": "bad.sql", "bad_partial.sql", "bad_prefix.sql", "bad_second.sql", "good.sql"
);

pub(super) const IDENTIFIER_LENGTH: &[Example] = crate::examples!(
    "structure.identifier-length": "bad.sql", "bad_column.sql", "good.sql"
);

pub(super) const PARTITION_WINDOW: &[Example] = crate::examples!(
    "structure.partition-window": "bad.sql", "bad_default.sql", "bad_gap.sql", "bad_static.sql", "good.sql", "good_days.sql", "pgharness.toml"
);

pub(super) const PRIMARY_KEY: &[Example] = crate::examples!(
    "structure.primary-key": "bad.sql", "bad_unique.sql", "good.sql"
);
