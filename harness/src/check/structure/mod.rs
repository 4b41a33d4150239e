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

use super::Check;

/// The checks of this family.
pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(column_type::ColumnType),
        Box::new(conventions::Conventions),
        Box::new(expected_tables::ExpectedTables),
        Box::new(fk_index::FkIndex),
        Box::new(identifier_length::IdentifierLength),
        Box::new(partition_window::PartitionWindow),
        Box::new(primary_key::PrimaryKey),
    ]
}
