//! Just enough of the server's lexical rules to know where a statement ends: quotes, comments, words.

/// What a stretch of SQL text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// White space or a comment: the server skips it.
    Skipped,
    /// A keyword or a name without quotes.
    Word,
    /// A string, a quoted name or a dollar-quoted body.
    Quoted,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Anything else, one character of it.
    Other,
}

/// A token: its kind and its place in the text, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Walks over a text; the tokens cover it without a gap.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    fn byte(&self, at: usize) -> u8 {
        // A zero byte stands for the end: no rule below looks for one.
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// The end of the run of bytes from `at` that `wanted` takes.
    fn run(&self, at: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let rest = &self.text.as_bytes()[at.min(self.text.len())..];
        at + rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len())
    }

    /// The end of a quoted stretch whose opening quote lies just before `at`; a doubled quote stays inside,
    /// and so does what a backslash escapes.
    fn quoted(&self, mut at: usize, quote: u8, backslash: bool) -> usize {
        while at < self.text.len() {
            match self.byte(at) {
                b'\\' if backslash => at += 2,
                byte if byte == quote && self.byte(at + 1) == quote => at += 2,
                byte if byte == quote => return at + 1,
                _ => at += 1,
            }
        }
        self.boundary(at)
    }

    /// The end of the white space and line comments from `at`.
    fn blank(&self, mut at: usize) -> usize {
        loop {
            at = self.run(at, |byte| byte.is_ascii_whitespace());
            if (self.byte(at), self.byte(at + 1)) != (b'-', b'-') {
                return at;
            }
            at = self.run(at, |byte| byte != b'\n' && byte != b'\r');
        }
    }

    /// A string, with its continuations: strings on following lines belong to the first one, and with it its
    /// rule for backslashes. A comment may lie between.
    fn string(&self, at: usize, backslash: bool) -> usize {
        let mut end = self.quoted(at, b'\'', backslash);
        loop {
            let next = self.blank(end);
            if self.byte(next) != b'\'' || !self.text[end..next].contains(['\n', '\r']) {
                return end;
            }
            end = self.quoted(next + 1, b'\'', backslash);
        }
    }

    /// The end of a block comment that opens at `at`; such comments nest.
    fn block_comment(&self, mut at: usize) -> usize {
        let mut depth = 0;
        while at < self.text.len() {
            match (self.byte(at), self.byte(at + 1)) {
                (b'/', b'*') => (depth, at) = (depth + 1, at + 2),
                (b'*', b'/') if depth == 1 => return at + 2,
                (b'*', b'/') => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        self.boundary(at)
    }

    /// The end of a dollar-quoted body that opens at `at`, or `None` if this dollar opens none.
    fn dollar_quoted(&self, at: usize) -> Option<usize> {
        let tag_end = if starts_word(self.byte(at + 1)) {
            self.run(at + 1, |byte| starts_word(byte) || byte.is_ascii_digit())
        } else {
            at + 1
        };
        if self.byte(tag_end) != b'$' {
            return None;
        }
        let delimiter = &self.text[at..=tag_end];
        let body = tag_end + 1;
        Some(
            self.text[body..].find(delimiter).map_or(self.text.len(), |found| body + found + delimiter.len()),
        )
    }

    /// Escapes step over bytes: the end of a broken text must not fall behind it or into a character.
    fn boundary(&self, at: usize) -> usize {
        at.min(self.text.len())
    }
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let (kind, end) = match (self.byte(start), self.byte(start + 1)) {
            (byte, _) if byte.is_ascii_whitespace() || byte == 0x0b => {
                (Kind::Skipped, self.run(start, |byte| byte.is_ascii_whitespace() || byte == 0x0b))
            }
            (b'-', b'-') => (Kind::Skipped, self.run(start, |byte| byte != b'\n' && byte != b'\r')),
            (b'/', b'*') => (Kind::Skipped, self.block_comment(start)),
            (b'\'', _) => (Kind::Quoted, self.string(start + 1, false)),
            (b'e' | b'E', b'\'') => (Kind::Quoted, self.string(start + 2, true)),
            (b'"', _) => (Kind::Quoted, self.quoted(start + 1, b'"', false)),
            (b'$', _) => match self.dollar_quoted(start) {
                Some(end) => (Kind::Quoted, end),
                None => (Kind::Other, start + 1),
            },
            (b';', _) => (Kind::Semicolon, start + 1),
            (b'(', _) => (Kind::Open, start + 1),
            (b')', _) => (Kind::Close, start + 1),
            (byte, _) if starts_word(byte) => (Kind::Word, self.run(start, continues_word)),
            // A number takes its letters along, so that the `e` of `1e5` never looks like a prefix.
            (byte, _) if byte.is_ascii_digit() => (Kind::Other, self.run(start, continues_word)),
            _ => (Kind::Other, start + 1),
        };
        self.at = end;
        Some(Token { kind, start, end })
    }
}
