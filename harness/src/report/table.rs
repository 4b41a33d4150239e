//! Measurements as tables: figures of like things side by side, single figures below one another.

use super::number::figure;
use super::text::Colour;
use crate::finding::Measurement;
use anstyle::Style;
use std::collections::BTreeMap;

/// Last parts of names that come in this order; others come before them in the order of the alphabet.
const STATISTICS: &[&str] = &["min", "mean", "p50", "p75", "p90", "p95", "p99", "p999", "max"];

/// The tables, each with an empty line after it; nothing where nothing was measured.
///
/// Of a name such as `load.get.p50` the first part names a table, the middle a row and the last a column; what
/// has two parts only is a single figure.
pub(super) fn measurements(measurements: &[Measurement], colour: Colour) -> String {
    let mut families: BTreeMap<&str, Vec<(&str, Column<'_>, f64)>> = BTreeMap::new();
    let mut single = Vec::new();
    for measurement in measurements {
        match measurement.name.rsplit_once('.').map(|(of, last)| (of.split_once('.'), last)) {
            Some((Some((family, row)), last)) => {
                let place =
                    STATISTICS.iter().position(|statistic| *statistic == last).map_or(0, |place| place + 1);
                let column = Column { place, name: last, unit: &measurement.unit };
                families.entry(family).or_default().push((row, column, measurement.value));
            }
            _ => single.push(measurement),
        }
    }
    let mut text: String =
        families.iter().map(|(family, figures)| family_table(family, figures, colour)).collect();
    let rows = single.iter().map(|measurement| Row {
        name: &measurement.name,
        unit: &measurement.unit,
        cells: vec![figure(measurement.value)],
    });
    text.push_str(&table("measured", &["value"], rows.collect(), colour));
    text
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Column<'a> {
    place: usize,
    name: &'a str,
    unit: &'a str,
}

/// Figures of one family: a row for each thing, a column for each figure.
fn family_table(family: &str, figures: &[(&str, Column<'_>, f64)], colour: Colour) -> String {
    let mut rows: BTreeMap<&str, BTreeMap<Column<'_>, f64>> = BTreeMap::new();
    let mut columns: Vec<Column<'_>> = Vec::new();
    for (row, column, value) in figures {
        rows.entry(row).or_default().insert(*column, *value);
        columns.push(*column);
    }
    columns.sort_unstable();
    columns.dedup();
    // A column in which nothing but zeros stands says nothing.
    columns.retain(|column| rows.values().any(|row| row.get(column).is_some_and(|value| *value != 0.0)));
    let heads: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = column.name.replace('_', " ");
            // A count is named by what it counts.
            if column.unit.is_empty() || name.contains(column.unit) {
                name
            } else {
                format!("{name} {}", column.unit)
            }
        })
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let rows = rows.iter().map(|(name, cells)| Row {
        name,
        unit: "",
        cells: columns
            .iter()
            .map(|column| cells.get(column).map(|value| figure(*value)).unwrap_or_default())
            .collect(),
    });
    table(family, &heads, rows.collect(), colour)
}

struct Row<'a> {
    name: &'a str,
    unit: &'a str,
    cells: Vec<String>,
}

fn table(title: &str, head: &[&str], rows: Vec<Row<'_>>, colour: Colour) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |text: &str| text.chars().count();
    let names = rows.iter().map(|row| width(row.name) + 2).chain([width(title)]).max().unwrap_or(0);
    let columns: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, head)| rows.iter().map(|row| width(&row.cells[column])).fold(width(head), usize::max))
        .collect();

    let cells = |texts: &mut dyn Iterator<Item = &str>| -> String {
        texts.zip(&columns).map(|(text, width)| format!("  {text:>width$}")).collect()
    };
    let title = colour.paint(Style::new().bold(), &format!("{title:<names$}"));
    let heads = colour.paint(Style::new().dimmed(), &cells(&mut head.iter().copied()));
    let mut text = format!("{title}{heads}\n");
    for row in &rows {
        let name = format!("  {}", row.name);
        let line =
            format!("{name:<names$}{}  {}", cells(&mut row.cells.iter().map(String::as_str)), row.unit);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}
