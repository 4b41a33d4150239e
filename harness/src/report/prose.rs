//! Prose for a terminal.

/// How wide prose may get.
pub(crate) const COLUMNS: usize = 100;

/// `text` without characters that command a terminal: names of objects may hold anything.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return text.to_owned();
    }
    let escape = |c: char| -> String {
        if c.is_control() && c != '\n' && c != '\t' { c.escape_default().collect() } else { c.into() }
    };
    text.chars().map(escape).collect()
}

/// The words of `text` on lines of at most `columns`, apart from words that are longer by themselves.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("one two three", &["one two", "three"])]
    #[case("one\n\ntwo", &["one", "", "two"])]
    #[case("a_word_that_is_too_long b", &["a_word_that_is_too_long", "b"])]
    #[case("", &[])]
    fn lines_break_between_words(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(wrapped(text, 8), expected);
    }
}
