//! Figures as people read them.

/// A span of time: `12 ms`, `1.24 s`, `2 min 05 s`.
pub(super) fn span(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{:02} s", millis / 1_000, millis % 1_000 / 10),
        _ => format!("{} min {:02} s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

/// A measured figure, with three digits that count.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 || size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// `count` of something: `1 error`, `2 errors`.
pub(super) fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0 ms")]
    #[case(999, "999 ms")]
    #[case(1_000, "1.00 s")]
    #[case(59_999, "59.99 s")]
    #[case(125_900, "2 min 05 s")]
    fn spans(#[case] millis: u64, #[case] expected: &str) {
        assert_eq!(span(millis), expected);
    }

    #[rstest]
    #[case(40.0, "40")]
    #[case(1234.56, "1235")]
    #[case(12.345, "12.3")]
    #[case(1.2345, "1.23")]
    #[case(0.01234, "0.012")]
    #[case(-2.5, "-2.50")]
    #[case(f64::NAN, "NaN")]
    fn figures(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(figure(value), expected);
    }
}
