//! What EXPLAIN (ANALYZE, BUFFERS) says of one execution: figures that a noisy machine does not change.

use super::shape::Shape;
use crate::error::{Error, Result};
use serde_json::Value;

/// Figures of one execution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlanFigures {
    /// Blocks of tables and indexes, found in the cache or read: hits alone depend on what ran before.
    pub blocks: u64,
    /// Blocks of temporary files, read and written.
    pub temp_blocks: u64,
    /// Rows returned; of a write without RETURNING, rows written.
    pub rows: u64,
    /// Rows that scans of tables looked at, those that a filter dropped included.
    pub rows_scanned: u64,
    /// The shape of the plan.
    pub shape: Shape,
}

impl PlanFigures {
    /// Reads what EXPLAIN wrote as JSON.
    pub(super) fn read(json: &str) -> Result<Self> {
        let explained: Value = serde_json::from_str(json)
            .map_err(|source| Error::server("failed to read what EXPLAIN wrote").with_source(source))?;
        let plan = &explained[0]["Plan"];
        if !plan.is_object() {
            return Err(Error::server("failed to read what EXPLAIN wrote: it holds no plan"));
        }
        let sum = |keys: &[&str]| keys.iter().filter_map(|key| plan[*key].as_u64()).sum();
        Ok(PlanFigures {
            // The top node's figures include those below it.
            blocks: sum(&[
                "Shared Hit Blocks",
                "Shared Read Blocks",
                "Local Hit Blocks",
                "Local Read Blocks",
            ]),
            temp_blocks: sum(&["Temp Read Blocks", "Temp Written Blocks"]),
            rows: rows(plan).round() as u64,
            rows_scanned: scanned(plan).round() as u64,
            shape: Shape::read(plan),
        })
    }

    /// Rows scanned for each row returned; for none returned, as if it were one.
    pub fn rows_scanned_per_row(&self) -> f64 {
        self.rows_scanned as f64 / self.rows.max(1) as f64
    }
}

/// Rows that a node gave in all its loops; figures are averages over them.
fn times_loops(plan: &Value, key: &str) -> f64 {
    plan[key].as_f64().unwrap_or_default() * plan["Actual Loops"].as_f64().unwrap_or(1.0)
}

fn rows(plan: &Value) -> f64 {
    let own = times_loops(plan, "Actual Rows");
    match plan["Plans"].as_array() {
        Some(below) if plan["Node Type"] == "ModifyTable" && own == 0.0 => {
            below.iter().map(|child| times_loops(child, "Actual Rows")).sum()
        }
        _ => own,
    }
}

/// Only nodes that read a table count; a bitmap's index scan looks at no row.
fn scanned(plan: &Value) -> f64 {
    let own = if plan["Relation Name"].is_string() && plan["Node Type"] != "ModifyTable" {
        ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"]
            .iter()
            .map(|key| times_loops(plan, key))
            .sum()
    } else {
        0.0
    };
    own + plan["Plans"].as_array().map_or(0.0, |below| below.iter().map(scanned).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_count_all_loops_and_what_filters_drop() {
        let json = r#"[{"Plan": {
            "Node Type": "Nested Loop", "Actual Rows": 4, "Actual Loops": 1,
            "Shared Hit Blocks": 10, "Shared Read Blocks": 2, "Temp Read Blocks": 1, "Temp Written Blocks": 3,
            "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "a", "Actual Rows": 2, "Actual Loops": 1,
                 "Rows Removed by Filter": 98, "Shared Hit Blocks": 6},
                {"Node Type": "Bitmap Heap Scan", "Relation Name": "b", "Actual Rows": 2, "Actual Loops": 2,
                 "Plans": [{"Node Type": "Bitmap Index Scan", "Actual Rows": 7, "Actual Loops": 2}]}
            ]}, "Planning": {"Shared Hit Blocks": 99}}]"#;
        let figures = PlanFigures::read(json).unwrap();
        assert_eq!((figures.blocks, figures.temp_blocks, figures.rows), (12, 4, 4));
        assert_eq!((figures.rows_scanned, figures.rows_scanned_per_row()), (104, 26.0));
    }

    #[test]
    fn what_is_no_plan_is_an_error() {
        assert!(PlanFigures::read("[]").is_err());
    }
}
