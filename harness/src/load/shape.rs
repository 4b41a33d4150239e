//! The shape of a plan: what stays the same while costs, widths and values change.

use serde_json::Value;
use std::fmt;

/// Conditions and keys that belong to the shape, in the server's words.
const CONDITIONS: &[&str] = &[
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "TID Cond",
    "Filter",
    "One-Time Filter",
    "Sort Key",
    "Presorted Key",
    "Group Key",
];

/// A node of a plan: its kind, the relation and index it reads, how it joins or aggregates, and its
/// conditions with every value replaced by `?`. Costs, widths, times and worker counts are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `Index Scan`, `Hash Join`, …, with the join type, strategy or operation where it has one.
    pub node: String,
    /// The relation it reads or writes.
    pub relation: Option<String>,
    /// The index it uses.
    pub index: Option<String>,
    /// Its conditions and keys, such as `Index Cond: (id = ?)`.
    pub conditions: Vec<String>,
    /// The nodes below.
    pub children: Vec<Shape>,
}

impl Shape {
    /// Reads a node as EXPLAIN writes it in JSON.
    pub(super) fn read(plan: &Value) -> Self {
        let text = |key: &str| plan[key].as_str().map(str::to_owned);
        let mut node = text("Node Type").unwrap_or_default();
        for detail in ["Operation", "Strategy", "Partial Mode", "Join Type", "Scan Direction", "Command"] {
            match plan[detail].as_str() {
                // What nearly every node is need not be said.
                None | Some("Plain" | "Simple" | "Inner" | "Forward" | "NoMovement") => (),
                Some(word) => node = format!("{node} ({word})"),
            }
        }
        let relation = text("Relation Name").map(|name| match plan["Schema"].as_str() {
            Some(schema) => format!("{schema}.{name}"),
            None => name,
        });
        let conditions = CONDITIONS
            .iter()
            .filter_map(|key| {
                let value = match &plan[*key] {
                    Value::String(text) => text.clone(),
                    Value::Array(items) => {
                        items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
                    }
                    _ => return None,
                };
                Some(format!("{key}: {}", without_values(&value)))
            })
            .collect();
        let children = plan["Plans"].as_array().map(|below| below.iter().map(Shape::read).collect());
        Shape {
            node,
            relation,
            index: text("Index Name"),
            conditions,
            children: children.unwrap_or_default(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        if depth > 0 {
            write!(f, "\n{}-> ", "  ".repeat(depth))?;
        }
        f.write_str(&self.node)?;
        if let Some(index) = &self.index {
            write!(f, " using {index}")?;
        }
        if let Some(relation) = &self.relation {
            write!(f, " on {relation}")?;
        }
        for condition in &self.conditions {
            write!(f, " [{condition}]")?;
        }
        self.children.iter().try_for_each(|child| child.write(f, depth + 1))
    }
}

/// As an indented tree.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// `text` with each literal and each parameter replaced by `?`: a custom plan shows values, a generic one `$1`,
/// and neither belongs to the shape.
fn without_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_name = false;
    while let Some(first) = rest.chars().next() {
        let width = match first {
            '\'' => {
                out.push('?');
                literal(rest)
            }
            '"' => {
                let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
                out.push_str(&rest[..end]);
                end
            }
            '0'..='9' | '$' if !in_name => {
                out.push('?');
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '$')))
                    .unwrap_or(rest.len())
            }
            _ => {
                out.push(first);
                first.len_utf8()
            }
        };
        in_name = first.is_alphanumeric() || first == '_' || (in_name && first == '$');
        rest = &rest[width..];
    }
    out
}

/// The length of the string literal that `rest` starts with.
fn literal(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("(id = 'a''b'::uuid)", "(id = ?::uuid)")]
    #[case("(id = $1)", "(id = ?)")]
    #[case("((v > 12.5) AND (t1.v2 < 7))", "((v > ?) AND (t1.v2 < ?))")]
    #[case("(\"odd 1 name\" = 3)", "(\"odd 1 name\" = ?)")]
    #[case("(v = ANY ('{1,2}'::integer[]))", "(v = ANY (?::integer[]))")]
    #[case("(größe2 = -1e10)", "(größe2 = -?)")]
    fn values_are_left_out(#[case] condition: &str, #[case] expected: &str) {
        assert_eq!(without_values(condition), expected);
    }

    #[test]
    fn costs_do_not_change_the_shape() {
        let plan = |cost: f64, value: &str| {
            json!({
                "Node Type": "Nested Loop", "Join Type": "Left", "Total Cost": cost, "Plans": [{
                    "Node Type": "Index Scan", "Relation Name": "t", "Schema": "public", "Index Name": "t_pkey",
                    "Scan Direction": "Forward", "Index Cond": format!("(id = {value})"), "Plan Rows": cost,
                }],
            })
        };
        let shape = Shape::read(&plan(1.0, "$1"));
        assert_eq!(shape, Shape::read(&plan(9.0, "'x'")));
        assert_eq!(
            shape.to_string(),
            "Nested Loop (Left)\n  -> Index Scan using t_pkey on public.t [Index Cond: (id = ?)]"
        );
    }
}
