//! Names that somebody may have meant.

/// Those of `known` that `name` is most like, at most three, the likest first.
///
/// An id is also compared by its last part alone, so that `cross-read` leads to `tenancy.cross-read`.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let last = |id: &str| id.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|id| {
            let whole = strsim::normalized_damerau_levenshtein(name, id);
            (whole.max(strsim::normalized_damerau_levenshtein(&last(name), &last(id))), id)
        })
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    scored.sort_by(|(a, one), (b, two)| b.total_cmp(a).then(one.cmp(two)));
    // Ids of one family share a long beginning: what is much less like the name than the best is noise.
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    scored.retain(|(score, _)| *score >= best - 0.1);
    scored.truncate(3);
    scored.into_iter().map(|(_, id)| id).collect()
}

/// `names` as a sentence's list: "`a`, `b`".
pub(crate) fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tenancy.cross-reed", &["tenancy.cross-read"])]
    #[case("cross-read", &["tenancy.cross-read"])]
    #[case("tenant.cross-insert", &["tenancy.cross-insert"])]
    #[case("weather.sunny", &[])]
    fn a_slip_leads_to_what_was_meant(#[case] name: &str, #[case] expected: &[&str]) {
        assert_eq!(nearest(name, ["access.matrix", "tenancy.cross-insert", "tenancy.cross-read"]), expected);
    }
}
