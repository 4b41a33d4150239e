//! Figures as lines for people: one that was measured on several media has a line for each, side by side.

use super::figure::Figure;

/// A name takes so much room at least.
const NAME_WIDTH: usize = 36;

/// A line for each figure; those of one name stand below each other, the name on the first.
pub(super) fn lines(figures: &[Figure]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for figure in figures {
        if !names.contains(&plain_name(figure)) {
            names.push(plain_name(figure));
        }
    }
    let mut lines = Vec::new();
    for name in names {
        for (place, figure) in figures.iter().filter(|figure| plain_name(figure) == name).enumerate() {
            let name = if place == 0 { name } else { "" };
            lines.push(format!("{name:<NAME_WIDTH$} {figure}"));
        }
    }
    lines
}

/// Its name without the medium, which has a column.
fn plain_name(figure: &Figure) -> &str {
    match figure.medium {
        Some(medium) => medium.plain_name(&figure.name),
        None => &figure.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::medium::Medium;

    fn figure(name: &str, medium: Medium) -> Figure {
        Figure { medium: Some(medium), ..Figure::not_measured(medium.name(name), "no time") }
    }

    #[test]
    fn one_name_stands_above_its_media() {
        use Medium::{Disk, Memory};
        let figures = [figure("a", Memory), figure("b", Memory), figure("a", Disk), figure("c", Disk)];
        let lines: Vec<String> = lines(&figures)
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let said = "not measured: no time";
        let expect = ["a memory", "disk", "b memory", "c disk"].map(|start| format!("{start} {said}"));
        assert_eq!(lines, expect);
    }
}
