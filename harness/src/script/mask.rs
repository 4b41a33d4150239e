//! SQL without its values: what a report may show.

use super::lexer::{Kind, Lexer};

/// `sql` on one line, without values and comments: strings become `'…'` behind their prefix, dollar-quoted ones
/// `$…$`, numbers `?`. Names and keywords stay, and with them what `SET` takes without quotes.
///
/// It assumes `standard_conforming_strings = on`. A quote without its end hides all that follows.
pub(crate) fn mask(sql: &str) -> String {
    let mut masked = String::with_capacity(sql.len());
    let mut is_parameter = false;
    for token in Lexer::new(sql) {
        let text = &sql[token.start..token.end];
        let was_parameter = std::mem::replace(&mut is_parameter, text == "$");
        match token.kind {
            Kind::Skipped if masked.is_empty() || masked.ends_with(' ') => {}
            Kind::Skipped => masked.push(' '),
            Kind::Quoted if text.starts_with('"') => masked.push_str(text),
            Kind::Quoted if text.starts_with('$') => masked.push_str("$…$"),
            Kind::Quoted => {
                let prefix = text.find('\'').unwrap_or_default();
                masked.push_str(&text[..prefix]);
                masked.push_str("'…'");
            }
            Kind::Other if was_parameter && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                masked.push_str(text);
            }
            Kind::Other if text.starts_with(|c: char| c.is_ascii_digit()) => masked.push('?'),
            _ => masked.push_str(text),
        }
    }
    masked.truncate(masked.trim_end().len());
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing("select a, \"B 1\" from t1", "select a, \"B 1\" from t1")]
    #[case::string("select 'secret', 'it''s secret'", "select '…', '…'")]
    #[case::escapes(r"select E'a\'secret', e'\\'", "select E'…', e'…'")]
    #[case::continued("select E'a'\n -- and\n 'b\\'secret'", "select E'…'")]
    #[case::unicode(r"select U&'\0441 secret'", "select U&'…'")]
    #[case::bits("select b'101', X'ff', n'secret'", "select b'…', X'…', n'…'")]
    #[case::dollar("do $body$ secret 'x' $$ 1 $body$", "do $…$")]
    #[case::bare_dollar("select $$secret$$, a$b", "select $…$, a$b")]
    #[case::numbers("select 42, -1.5e10, .5, 0xff, 1_000", "select ?, -?.?, .?, ?, ?")]
    #[case::parameters("select $1, $12 + 3", "select $1, $12 + ?")]
    #[case::comments("-- secret\nselect /* secret /* 7 */ secret */ a -- 8", "select a")]
    #[case::one_line("select\n   a,\n\tb", "select a, b")]
    #[case::string_without_end("select 'secret and 7", "select '…'")]
    #[case::dollar_without_end("select $x$ secret", "select $…$")]
    #[case::comment_without_end("select a /* secret", "select a")]
    fn values_do_not_stay(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(mask(sql), expected);
    }

    proptest! {
        /// A value of capitals and digits, quoted in any of the server's ways, between anything that ends by itself.
        #[test]
        fn a_quoted_value_never_stays(value in "[A-Z]{3}[0-9]{3}", way in 0..7usize, before in "(a|1|\"x\"|'y'|\\$1|/\\*z\\*/|,| ){0,6}") {
            let quoted = match way {
                0 => format!("'{value}'"),
                1 => format!("'''{value}'''"),
                2 => format!("E'\\'{value}\\\\'"),
                3 => format!("$$'{value}$$"),
                4 => format!("$q${value}$$q$"),
                5 => format!("U&'{value}'"),
                _ => format!("'a'\n'{value}'"),
            };
            let masked = mask(&format!("select {before} {quoted} from t"));
            prop_assert!(!masked.contains(&value), "{}", masked);
            prop_assert!(masked.ends_with("from t"), "{}", masked);
        }

        #[test]
        fn any_text_can_be_masked(sql in "\\PC*") {
            mask(&sql);
        }

        #[test]
        fn masking_twice_changes_nothing_more(sql in "[a-z ,().']{0,40}") {
            let once = mask(&sql);
            prop_assert_eq!(mask(&once), once);
        }
    }
}
