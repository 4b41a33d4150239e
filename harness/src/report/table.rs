//! Measurements as tables: percentiles of one thing side by side, single figures below one another.

use super::number::figure;
use super::text::Colour;
use crate::finding::Measurement;
use anstyle::Style;
use std::collections::BTreeMap;

/// The last parts of names that are figures of one thing, in the order of their columns.
const STATISTICS: &[&str] = &["min", "mean", "p50", "p75", "p90", "p95", "p99", "p999", "max"];

/// Both tables, each with an empty line after it; nothing where nothing was measured.
pub(super) fn measurements(measurements: &[Measurement], colour: Colour) -> String {
    let mut groups: BTreeMap<(&str, &str), BTreeMap<usize, f64>> = BTreeMap::new();
    let mut single = Vec::new();
    for measurement in measurements {
        let statistic = measurement
            .name
            .rsplit_once('.')
            .and_then(|(of, last)| Some((of, STATISTICS.iter().position(|statistic| *statistic == last)?)));
        match statistic {
            Some((of, column)) => {
                groups.entry((of, &measurement.unit)).or_default().insert(column, measurement.value);
            }
            None => single.push(measurement),
        }
    }

    let used: Vec<usize> = (0..STATISTICS.len())
        .filter(|column| groups.values().any(|figures| figures.contains_key(column)))
        .collect();
    let head: Vec<&str> = used.iter().map(|column| STATISTICS[*column]).collect();
    let rows = groups.iter().map(|((of, unit), figures)| Row {
        name: of,
        unit,
        cells: used
            .iter()
            .map(|column| figures.get(column).map(|value| figure(*value)).unwrap_or_default())
            .collect(),
    });
    let mut text = table(&head, rows.collect(), colour);
    let rows = single.iter().map(|measurement| Row {
        name: &measurement.name,
        unit: &measurement.unit,
        cells: vec![figure(measurement.value)],
    });
    text.push_str(&table(&["value"], rows.collect(), colour));
    text
}

struct Row<'a> {
    name: &'a str,
    unit: &'a str,
    cells: Vec<String>,
}

fn table(head: &[&str], rows: Vec<Row<'_>>, colour: Colour) -> String {
    const TITLE: &str = "measured";
    if rows.is_empty() {
        return String::new();
    }
    let width = |text: &str| text.chars().count();
    let names = rows.iter().map(|row| width(row.name) + 2).chain([width(TITLE)]).max().unwrap_or(0);
    let columns: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, title)| {
            rows.iter().map(|row| width(&row.cells[column])).fold(width(title), usize::max)
        })
        .collect();

    let cells = |texts: &mut dyn Iterator<Item = &str>| -> String {
        texts.zip(&columns).map(|(text, width)| format!("  {text:>width$}")).collect()
    };
    let title = colour.paint(Style::new().bold(), &format!("{TITLE:<names$}"));
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
