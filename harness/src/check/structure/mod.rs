//! Checks of what tables look like.

mod column_type;
mod conventions;
mod examples;
mod expected_tables;
mod fk_index;
mod identifier_length;
mod partition_window;
mod primary_key;
mod tables;
mod window;

pub(super) use column_type::ColumnType;
pub(super) use conventions::Conventions;
pub(super) use expected_tables::ExpectedTables;
pub(super) use fk_index::FkIndex;
pub(super) use identifier_length::IdentifierLength;
pub(super) use partition_window::PartitionWindow;
pub(super) use primary_key::PrimaryKey;
