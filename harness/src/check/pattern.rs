//! Patterns with `*`, for names of objects and of checks.

/// Whether `text` is what `pattern` describes: `*` stands for any characters, also none, also dots; every other
/// character for itself.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    // `split` yields at least one part.
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The first place where a part occurs is as good as any: it leaves most room for those after it.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("public.users", "public.users", true)]
    #[case("public.users", "public.users2", false)]
    #[case("public.*", "public.", true)]
    #[case("public.ref_*", "public.reference", false)]
    #[case("*.users", "identity.users", true)]
    #[case("*", "", true)]
    #[case("a*b*c", "a-b-b-c", true)]
    #[case("a*b*c", "a-c-b", false)]
    // The end may not be counted twice.
    #[case("ab*ba", "aba", false)]
    #[case("", "x", false)]
    fn cases(#[case] pattern: &str, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, text), expected);
    }

    proptest! {
        #[test]
        fn a_name_whose_middle_is_replaced_by_a_star_still_matches(a in "[a-c.]{0,6}", b in "[a-c.]{0,6}", c in "[a-c.]{0,6}") {
            let name = format!("{a}{b}{c}");
            let pattern = format!("{a}*{c}");
            prop_assert!(matches(&pattern, &name), "{} {}", pattern, name);
        }
    }
}
