//! A place in a text, and the line of it with a caret underneath.

/// The most characters of a line that an excerpt shows.
const SHOWN_MAX: usize = 100;

/// A place in a text, counted from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line.
    pub(crate) line: usize,
    /// The column, in characters.
    pub(crate) column: usize,
    text: String,
}

impl Place {
    /// The place of byte `offset`.
    pub(crate) fn of_byte(text: &str, offset: usize) -> Place {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = text[line_start..].lines().next().unwrap_or_default();
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: line_text.to_owned(),
        }
    }

    /// The place of character `position`, counted from one as the server does, of the part of `text` that
    /// begins at byte `offset`.
    pub(crate) fn of_position(text: &str, offset: usize, position: usize) -> Place {
        let rest = &text[offset..];
        let within = rest.char_indices().nth(position.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
        Place::of_byte(text, offset + within)
    }

    /// The line with its number and a caret, as compilers show it; `path` is named above where there is one.
    pub(crate) fn excerpt(&self, path: Option<&str>) -> String {
        let (shown, column) = self.shown();
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // A tab stays one, so that the caret stands under its character however wide tabs are.
        let indent: String =
            shown.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let head = path
            .map_or(String::new(), |path| format!("  {margin}--> {path}:{}:{}\n", self.line, self.column));
        format!("{head}  {margin} |\n  {number} | {shown}\n  {margin} | {indent}^")
    }

    /// What is shown of the line, and the column in that: a part around the place if the line is long, and
    /// never a password.
    fn shown(&self) -> (String, usize) {
        let hidden = hide_passwords(&self.text);
        let length = hidden.chars().count();
        if length <= SHOWN_MAX {
            return (hidden, self.column);
        }
        let from = self.column.saturating_sub(SHOWN_MAX / 2).min(length - SHOWN_MAX);
        (hidden.chars().skip(from).take(SHOWN_MAX).collect(), self.column - from)
    }
}

/// Stars, as many as there were characters, for the string that follows the word `password`.
pub(crate) fn hide_passwords(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut shown = line.to_owned();
    for (at, word) in lower.match_indices("password") {
        let after = at + word.len();
        let space = line[after..].len() - line[after..].trim_start().len();
        if !line[after + space..].starts_with('\'') {
            continue;
        }
        let start = after + space + 1;
        let end = line[start..].find('\'').map_or(line.len(), |length| start + length);
        // By characters of one byte only, so that later matches keep their places.
        if line[start..end].is_ascii() && shown.is_char_boundary(start) {
            shown.replace_range(start..end, &"*".repeat(end - start));
        } else {
            return "(a line with a password)".into();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_character() {
        let text = "create table a ();\n\tselect 'ü', x;\r\n";
        let place = Place::of_byte(text, text.find('x').unwrap());
        assert_eq!((place.line, place.column), (2, 14));
        assert_eq!(
            place.excerpt(Some("a.sql")),
            "   --> a.sql:2:14\n    |\n  2 | \tselect 'ü', x;\n    | \t            ^"
        );
        assert_eq!(Place::of_position(text, 20, 13), place);
    }

    #[test]
    fn the_end_of_the_text_is_a_place() {
        let place = Place::of_position("select", 0, 7);
        assert_eq!((place.line, place.column), (1, 7));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}x{}", "a".repeat(300), "b".repeat(300));
        let excerpt = Place::of_byte(&text, 300).excerpt(None);
        let lines: Vec<&str> = excerpt.lines().collect();
        assert_eq!(lines[1].chars().nth(lines[2].find('^').unwrap()), Some('x'));
        assert!(lines[1].len() < 120);
    }

    #[test]
    fn a_password_is_never_shown() {
        let place = Place::of_byte("alter role a PASSWORD 'hunter2' x", 33);
        let excerpt = place.excerpt(None);
        assert!(excerpt.contains("PASSWORD '*******' x") && !excerpt.contains("hunter2"), "{excerpt}");
    }
}
