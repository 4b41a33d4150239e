//! An expression, or the body of a function, in tokens, and which of them are operands.
//!
//! What the server prints has a pair of parentheses around each operator, so the operands are certain there.

use crate::script::{Kind, Lexer};
use std::ops::Range;

/// Words that no operand goes beyond.
pub(super) const BOUNDS: &[&str] = &[
    "and",
    "begin",
    "by",
    "case",
    "else",
    "elsif",
    "end",
    "for",
    "from",
    "group",
    "having",
    "if",
    "in",
    "into",
    "is",
    "join",
    "like",
    "limit",
    "loop",
    "not",
    "on",
    "or",
    "order",
    "return",
    "returning",
    "select",
    "set",
    "then",
    "union",
    "using",
    "values",
    "when",
    "where",
    "while",
    "with",
];

/// Words that are values and no names.
const VALUES: &[&str] =
    &["current_date", "current_role", "current_user", "false", "null", "session_user", "true", "user"];

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// In lower case without quotes.
    Name(String),
    Quoted(String),
    Literal(String),
    Open,
    Close,
    Symbol(String),
}

/// A text in tokens, with each parenthesis' other half.
#[derive(Debug, Default)]
pub(super) struct Expression {
    pub(super) tokens: Vec<Token>,
    pub(super) halves: Vec<Option<usize>>,
}

impl Expression {
    pub(super) fn of(text: &str) -> Expression {
        let mut expression = Expression::default();
        let mut end_of_last = None;
        for token in Lexer::new(text) {
            let said = &text[token.start..token.end];
            let tokens = &mut expression.tokens;
            let next = match token.kind {
                Kind::Skipped => continue,
                Kind::Word => Token::Name(said.to_ascii_lowercase()),
                Kind::Quoted if said.starts_with('"') => {
                    Token::Quoted(said.trim_matches('"').replace("\"\"", "\""))
                }
                Kind::Quoted => {
                    Token::Literal(said.trim_start_matches(['e', 'E']).trim_matches('\'').replace("''", "'"))
                }
                Kind::Open => Token::Open,
                Kind::Close => Token::Close,
                Kind::Semicolon => Token::Symbol(";".into()),
                Kind::Other => {
                    if let Some(Token::Symbol(last)) = tokens.last_mut()
                        && end_of_last == Some(token.start)
                        && (continues(last, said) || last == "$")
                    {
                        last.push_str(said);
                        end_of_last = Some(token.end);
                        continue;
                    }
                    Token::Symbol(said.to_owned())
                }
            };
            end_of_last = Some(token.end);
            tokens.push(next);
        }
        let mut open = Vec::new();
        expression.halves = vec![None; expression.tokens.len()];
        for (at, token) in expression.tokens.iter().enumerate() {
            match token {
                Token::Open => open.push(at),
                Token::Close => {
                    if let Some(half) = open.pop() {
                        expression.halves[half] = Some(at);
                        expression.halves[at] = Some(half);
                    }
                }
                _ => {}
            }
        }
        expression
    }

    pub(super) fn all(&self) -> Range<usize> {
        0..self.tokens.len()
    }

    pub(super) fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    pub(super) fn word(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    pub(super) fn name(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Name(name) | Token::Quoted(name)) => Some(name),
            _ => None,
        }
    }

    pub(super) fn symbol(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Symbol(symbol)) => Some(symbol),
            _ => None,
        }
    }

    pub(super) fn is_bound(&self, at: usize) -> bool {
        self.word(at).is_some_and(|word| BOUNDS.contains(&word))
            || matches!(self.symbol(at), Some("," | ";" | ":="))
    }

    /// Whether something is asked of both sides here.
    pub(super) fn is_question(&self, at: usize) -> bool {
        matches!(self.symbol(at), Some("=" | "<>" | "!=" | "<" | ">" | "<=" | ">=" | "~" | "@>" | "<@" | "?"))
            || matches!(self.word(at), Some("is" | "in" | "like"))
    }

    /// The start of the operand that ends before `at`.
    pub(super) fn start(&self, at: usize) -> usize {
        let mut start = at;
        while let Some(before) = start.checked_sub(1) {
            match self.tokens[before] {
                Token::Open => break,
                Token::Close => match self.halves[before] {
                    Some(half) => start = half,
                    None => break,
                },
                _ if self.is_bound(before) || self.is_question(before) => break,
                _ => start = before,
            }
        }
        start
    }

    /// The end of the operand that begins at `at`.
    pub(super) fn end(&self, at: usize) -> usize {
        let mut end = at;
        while let Some(token) = self.token(end) {
            match token {
                Token::Close => break,
                Token::Open => end = self.halves[end].map_or(self.tokens.len(), |half| half + 1),
                _ if self.is_bound(end) || self.is_question(end) => break,
                _ => end += 1,
            }
        }
        end
    }

    /// The name that an operand is, without casts and parentheses.
    pub(super) fn column(&self, operand: &Range<usize>) -> Option<Vec<String>> {
        let mut range = operand.clone();
        loop {
            if range.is_empty() {
                return None;
            }
            let last = range.end - 1;
            if self.halves[range.start] == Some(last) {
                range = range.start + 1..last;
                continue;
            }
            match self.cast(&range) {
                Some(cast) => range.end = cast,
                None => break,
            }
        }
        if range.len() == 1
            && let Some(place) = self.symbol(range.start).filter(|symbol| symbol.starts_with('$'))
        {
            return Some(vec![place.to_owned()]);
        }
        let start = range.start;
        let mut names = Vec::new();
        for (place, at) in range.enumerate() {
            match place % 2 {
                0 => names.push(self.name(at)?.to_owned()),
                _ => (self.symbol(at)? == ".").then_some(())?,
            }
        }
        let is_value = names.len() == 1
            && self.word(start).is_some_and(|word| VALUES.contains(&word) || BOUNDS.contains(&word));
        (!names.is_empty() && !is_value).then_some(names)
    }

    /// Where the first cast of an operand stands.
    fn cast(&self, range: &Range<usize>) -> Option<usize> {
        let mut at = range.start;
        while at < range.end {
            match self.halves[at] {
                Some(half) if half > at => at = half,
                _ if self.symbol(at) == Some("::") => return Some(at),
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// Where the parenthesis of a call closes whose name stands at `at`.
    pub(super) fn call(&self, at: usize) -> Option<usize> {
        self.name(at)?;
        (self.token(at + 1) == Some(&Token::Open)).then(|| self.halves[at + 1]).flatten()
    }

    /// What is given to a call.
    pub(super) fn arguments(&self, open: usize, close: usize) -> Vec<Range<usize>> {
        let mut arguments = Vec::new();
        let mut start = open + 1;
        let mut at = start;
        while at < close {
            match self.halves[at] {
                Some(half) if half > at => at = half,
                _ if self.symbol(at) == Some(",") => {
                    arguments.push(start..at);
                    start = at + 1;
                }
                _ => {}
            }
            at += 1;
        }
        if start < close {
            arguments.push(start..close);
        }
        arguments
    }
}

/// Whether a character goes on with the operator before it.
fn continues(last: &str, next: &str) -> bool {
    let is_part = |text: &str| text.chars().all(|c| "+-*/<>=~!@#%^&|?:".contains(c));
    is_part(last) && is_part(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tenant_id", Some("tenant_id"))]
    #[case("((o.tenant_id)::text)", Some("o.tenant_id"))]
    #[case("($1)::uuid", Some("$1"))]
    #[case("\"user\"", Some("user"))]
    #[case("CURRENT_USER", None)]
    #[case("(CURRENT_USER)::text", None)]
    #[case("((null)::uuid)", None)]
    #[case("lower(name)", None)]
    fn the_column_that_an_operand_is(#[case] text: &str, #[case] expected: Option<&str>) {
        let expression = Expression::of(text);
        let names = expression.column(&expression.all());
        assert_eq!(names.map(|names| names.join(".")).as_deref(), expected);
    }
}
