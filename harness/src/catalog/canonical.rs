//! Deparsed SQL, made the same whatever way it took: from which server version, and through how many dumps.

/// The canonical form of a deparsed expression.
///
/// A cast of an array constructor is not stable: what a server shows as `(ARRAY['a'::x])::text[]` it reads
/// back as `ARRAY[('a'::x)::text]`. The second form stays as it is, so the first is turned into it.
pub(super) fn expression(text: &str) -> String {
    let tokens = tokens(text);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    while at < tokens.len() {
        match cast_array(&tokens, at) {
            Some((form, next)) => {
                shown.push_str(&form);
                at = next;
            }
            None => {
                shown.push_str(tokens[at]);
                at += 1;
            }
        }
    }
    shown
}

/// The canonical form of a deparsed view. `is_qualified` says that the server is older than 16, which shows
/// `t.id` where later ones show `id` if the query is over one relation.
pub(super) fn query(text: &str, is_qualified: bool) -> String {
    let text = expression(text);
    if is_qualified { without_only_relation(&text).unwrap_or(text) } else { text }
}

/// At `(ARRAY[a, b])::t[]`: `ARRAY[(a)::t, (b)::t]`, and the token after it.
fn cast_array(tokens: &[&str], at: usize) -> Option<(String, usize)> {
    if tokens.get(at..at + 3)? != ["(", "ARRAY", "["] {
        return None;
    }
    // What closes the brackets that are open. Text in which they do not match is no server's, and is left alone.
    let (mut elements, mut element, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = at + 3;
    loop {
        match *tokens.get(next)? {
            "]" if open.is_empty() => break,
            "," if open.is_empty() => elements.push(std::mem::take(&mut element)),
            token => {
                match token {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    ")" | "]" if open.pop() != Some(token) => return None,
                    _ => {}
                }
                element.push(token);
            }
        }
        next += 1;
    }
    elements.push(element);
    if tokens.get(next..next + 4)? != ["]", ")", ":", ":"] {
        return None;
    }
    let start = next + 4;
    // The type goes on to the first `[`: dotted words, and `(10, 2)` perhaps.
    let end = start + tokens[start..].iter().position(|token| *token == "[")?;
    let is_type = |token: &&str| {
        token.starts_with(|c: char| {
            c.is_alphanumeric() || matches!(c, '_' | '"' | ' ' | '.' | '(' | ')' | ',')
        })
    };
    if tokens.get(end + 1) != Some(&"]") || !tokens[start..end].iter().all(is_type) {
        return None;
    }
    let of_type = tokens[start..end].concat();
    let mut shown = Vec::new();
    for element in elements {
        let element = expression(element.concat().trim());
        // Of nested arrays, and of none, the server makes something else.
        if element.is_empty() || element.starts_with("ARRAY[") {
            return None;
        }
        shown.push(format!("({element})::{of_type}"));
    }
    Some((format!("ARRAY[{}]", shown.join(", ")), end + 2))
}

/// The query without its only relation's name before each column; `None` where there are several, or where
/// they cannot be told.
///
/// Only the outermost query is touched: in all others every version shows the name.
fn without_only_relation(text: &str) -> Option<String> {
    let tokens = tokens(text);
    let levels = levels(&tokens);
    let is_outer = |at: usize| levels[at] == Level { parentheses: 0, queries: 0 };
    let find = |words: &[&str], from: usize| {
        (from..tokens.len()).find(|at| is_outer(*at) && words.contains(&tokens[*at]))
    };
    if find(&["UNION", "INTERSECT", "EXCEPT"], 0).is_some() {
        return None;
    }
    let from = find(&["FROM"], 0)?;
    let end =
        find(&["WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR", ";"], from)
            .unwrap_or(tokens.len());
    let has_several = (from..end)
        .any(|at| (is_outer(at) && tokens[at] == ",") || (levels[at].queries == 0 && tokens[at] == "JOIN"));
    if has_several {
        return None;
    }
    let name_end = find(&["TABLESAMPLE"], from).unwrap_or(end).min(end);
    let relation = (from + 1..name_end).rev().find(|at| is_outer(*at) && is_name(tokens[*at]))?;
    let order = find(&["ORDER"], end).unwrap_or(tokens.len());
    // `ORDER BY name` would mean the output column of that name, if there is one.
    let is_output = |name: &str| {
        (0..from).any(|at| is_outer(at) && tokens[at] == "AS" && tokens.get(at + 2) == Some(&name))
    };
    let relation = tokens[relation];
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    while at < tokens.len() {
        let before = tokens[..at].iter().rev().find(|token| !token.trim().is_empty());
        let is_prefix = levels[at].queries == 0
            && !(from..end).contains(&at)
            && tokens[at] == relation
            && tokens.get(at + 1) == Some(&".")
            && tokens.get(at + 2).is_some_and(|name| is_name(name))
            // A schema may have the relation's name: of a function, a type or a collation.
            && tokens.get(at + 3) != Some(&"(")
            && !before.is_some_and(|token| matches!(*token, "." | ":" | "COLLATE"))
            && !(at > order
                && is_outer(at)
                && before.is_some_and(|token| matches!(*token, "BY" | ","))
                && is_output(tokens[at + 2]));
        if is_prefix {
            at += 2;
        } else {
            shown.push_str(tokens[at]);
            at += 1;
        }
    }
    Some(shown)
}

/// In how many parentheses a token stands, and how many of them hold a query.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Level {
    parentheses: usize,
    queries: usize,
}

fn levels(tokens: &[&str]) -> Vec<Level> {
    let mut open: Vec<bool> = Vec::new();
    let mut levels = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        if *token == ")" {
            open.pop();
        }
        levels.push(Level {
            parentheses: open.len(),
            queries: open.iter().filter(|is_query| **is_query).count(),
        });
        if *token == "(" {
            let next = tokens[at + 1..].iter().find(|token| !token.trim().is_empty());
            open.push(next.is_some_and(|token| matches!(*token, "SELECT" | "WITH" | "VALUES")));
        }
    }
    levels
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '"'))
}

/// Words, quoted names, string literals, runs of blanks, and every other character for itself.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let length = match first {
            '"' | '\'' => quoted_length(rest, first, false),
            'E' if rest[1..].starts_with('\'') => 1 + quoted_length(&rest[1..], '\'', true),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(token);
        rest = tail;
    }
    tokens
}

/// How long the quoted text at the start of `text` is; a doubled quote goes on.
fn quoted_length(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && has_escapes {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "((s)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
        "((s)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text]))"
    )]
    #[case(
        "(ARRAY[f(1, 2), 'x, ]'::text])::numeric(10,2)[]",
        "ARRAY[(f(1, 2))::numeric(10,2), ('x, ]'::text)::numeric(10,2)]"
    )]
    #[case("ANY (ARRAY[1, 2])", "ANY (ARRAY[1, 2])")]
    #[case("'(ARRAY[1])::text[]'::text", "'(ARRAY[1])::text[]'::text")]
    #[case("(ARRAY[ARRAY[1]])::text[]", "(ARRAY[ARRAY[1]])::text[]")]
    #[case("(ARRAY[1])[1]", "(ARRAY[1])[1]")]
    #[case("(ARRAY[)]])::text[]", "(ARRAY[)]])::text[]")]
    fn a_cast_of_an_array_is_a_cast_of_its_elements(#[case] text: &str, #[case] expect: &str) {
        assert_eq!(expression(text), expect);
        assert_eq!(expression(expect), expect, "the canonical form stays");
    }

    #[rstest]
    #[case(
        " SELECT t.id,\n    t.\"A\"\n   FROM s.t\n  WHERE (t.id > 0);",
        " SELECT id,\n    \"A\"\n   FROM s.t\n  WHERE (id > 0);"
    )]
    #[case(" SELECT x.*::s.t AS x\n   FROM s.t x;", " SELECT x.*::s.t AS x\n   FROM s.t x;")]
    #[case(
        " SELECT t.id\n   FROM s.t\n  WHERE (EXISTS ( SELECT 1\n           FROM s.u\n          WHERE (u.id = t.id)));",
        " SELECT id\n   FROM s.t\n  WHERE (EXISTS ( SELECT 1\n           FROM s.u\n          WHERE (u.id = t.id)));"
    )]
    #[case(
        " SELECT a.id\n   FROM (s.a\n     JOIN s.b ON ((a.id = b.id)));",
        " SELECT a.id\n   FROM (s.a\n     JOIN s.b ON ((a.id = b.id)));"
    )]
    #[case(" SELECT a.id\n   FROM s.a,\n    s.b;", " SELECT a.id\n   FROM s.a,\n    s.b;")]
    #[case(
        " SELECT a.id\n   FROM s.a\nUNION\n SELECT b.id\n   FROM s.b;",
        " SELECT a.id\n   FROM s.a\nUNION\n SELECT b.id\n   FROM s.b;"
    )]
    #[case(
        " SELECT t.t, t.f(t.id), 't.id'::t.kind\n   FROM t.t;",
        " SELECT t, t.f(id), 't.id'::t.kind\n   FROM t.t;"
    )]
    #[case(
        " SELECT g.g\n   FROM generate_series(1, 2) g(g);",
        " SELECT g\n   FROM generate_series(1, 2) g(g);"
    )]
    #[case(
        " SELECT q.i\n   FROM ( SELECT t.i\n           FROM s.t) q;",
        " SELECT i\n   FROM ( SELECT t.i\n           FROM s.t) q;"
    )]
    #[case(" SELECT now() AS now;", " SELECT now() AS now;")]
    #[case(
        " SELECT z.a,\n    z.b AS a2\n   FROM ROWS FROM(f(1), f(2)) z(a, b);",
        " SELECT a,\n    b AS a2\n   FROM ROWS FROM(f(1), f(2)) z(a, b);"
    )]
    #[case(
        " SELECT t.id\n   FROM s.t TABLESAMPLE bernoulli (10)\n  WHERE (t.id > 1);",
        " SELECT id\n   FROM s.t TABLESAMPLE bernoulli (10)\n  WHERE (id > 1);"
    )]
    #[case(
        " SELECT t.a AS b,\n    t.c\n   FROM s.t\n  ORDER BY t.b, t.c, (t.b + 1);",
        " SELECT a AS b,\n    c\n   FROM s.t\n  ORDER BY t.b, c, (b + 1);"
    )]
    fn the_only_relation_is_not_named_before_columns(#[case] text: &str, #[case] expect: &str) {
        assert_eq!(query(text, true), expect);
        assert_eq!(query(text, false), text);
    }

    proptest! {
        #[test]
        fn tokens_join_to_the_text(text in "[a-zE'\"\\\\ \\[\\](),:.é]{0,40}") {
            prop_assert_eq!(tokens(&text).concat(), text);
        }

        #[test]
        fn canonical_forms_are_canonical(text in "(\\(ARRAY\\[|\\]\\)::text\\[\\]|[a'(),:\\[\\] ]){0,12}") {
            let once = expression(&text);
            prop_assert_eq!(expression(&once), once);
        }
    }
}
