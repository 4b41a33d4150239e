//! The name of a history's table, as a setting or a tool's own configuration has it.

use crate::ident::QualifiedName;

/// The name of a table; without a schema it is looked for along the search path, and made in its first schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl TableName {
    /// Reads a name as SQL has it: parts in quotes are taken as they are, others in small letters.
    pub(super) fn parse(sql: &str) -> TableName {
        let mut parts = vec![String::new()];
        let mut is_quoted = false;
        for c in sql.trim().chars() {
            match c {
                '"' => is_quoted = !is_quoted,
                '.' if !is_quoted => parts.push(String::new()),
                _ => {
                    if let Some(part) = parts.last_mut() {
                        part.extend(if is_quoted { vec![c] } else { c.to_lowercase().collect() });
                    }
                }
            }
        }
        let name = parts.pop().unwrap_or_default();
        TableName { schema: parts.pop(), name }
    }

    /// The table of that name in `public`, where no schema is named.
    pub(super) fn in_public(text: &str) -> TableName {
        let name = QualifiedName::parse(text);
        TableName { schema: Some(name.schema), name: name.name }
    }

    /// Whether `table` may be meant.
    pub(super) fn fits(&self, table: &QualifiedName) -> bool {
        self.name == table.name && self.schema.as_ref().is_none_or(|schema| *schema == table.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("_sqlx_migrations", None, "_sqlx_migrations")]
    #[case("Ops.Applied", Some("ops"), "applied")]
    #[case("\"Ops.x\".\"A\"", Some("Ops.x"), "A")]
    fn names_are_read_as_sql_has_them(#[case] text: &str, #[case] schema: Option<&str>, #[case] name: &str) {
        let read = TableName::parse(text);
        assert_eq!((read.schema.as_deref(), read.name.as_str()), (schema, name));
    }

    #[test]
    fn a_name_without_a_schema_fits_in_any() {
        let table = QualifiedName::new("app", "applied");
        assert!(TableName::parse("applied").fits(&table));
        assert!(TableName::parse("app.applied").fits(&table));
        assert!(!TableName::in_public("applied").fits(&table));
    }
}
