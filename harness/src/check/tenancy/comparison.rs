//! What an expression reads from settings, and with what it compares that.
//!
//! The server tells which columns and functions a policy depends on, but not what is compared with what, and of a
//! body of text nothing: that only the text says.

use super::expression::{BOUNDS, Expression, Token};
use super::setting::Setting;
use std::collections::BTreeMap;
use std::ops::Range;

/// Functions that hand on what they get.
const THROUGH: &[&str] =
    &["coalesce", "convert_from", "nullif", "to_json", "to_jsonb", "trim", "btrim", "lower"];

/// How many functions may call one another.
const DEPTH_MAX: usize = 4;

/// What a setting is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// It is compared with something, and what came of it is given.
    Compared,
    /// Rows are looked up by it, and what they hold is given.
    LookedUp,
    /// It is given itself.
    Given,
}

/// A setting that is read, and what for.
pub(super) type Read = (Setting, Use);

/// A column, or a parameter, that is compared with what a setting says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Compared {
    /// The name, with what stands before it.
    pub(super) name: Vec<String>,
    /// Within a function: so it is no column of who calls it.
    pub(super) is_within: bool,
    pub(super) reading: Setting,
    /// Given or looked up.
    pub(super) by: Use,
}

/// A function as its callers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) parameters: Vec<String>,
    pub(super) reads: Vec<Read>,
    pub(super) compares: Vec<Compared>,
}

/// Functions by their names.
pub(super) type Functions<'a> = BTreeMap<&'a str, Vec<&'a Known>>;

/// What each function reads and compares, also by those that it calls.
pub(super) fn known(bodies: Vec<(String, Vec<String>, String)>) -> Vec<Known> {
    let bodies: Vec<(Known, Expression)> = bodies
        .into_iter()
        .map(|(name, parameters, text)| {
            (Known { name, parameters, ..Known::default() }, Expression::of(&text))
        })
        .collect();
    let mut known: Vec<Known> = bodies.iter().map(|(function, _)| function.clone()).collect();
    for _ in 0..DEPTH_MAX {
        let functions = by_name(&known);
        let next = bodies.iter().map(|(function, body)| Known {
            reads: body.reads(&functions),
            compares: body.compares(&functions),
            ..function.clone()
        });
        let next: Vec<Known> = next.collect();
        if next == known {
            break;
        }
        known = next;
    }
    known
}

pub(super) fn by_name(known: &[Known]) -> Functions<'_> {
    let mut functions = Functions::new();
    for function in known {
        functions.entry(function.name.as_str()).or_default().push(function);
    }
    functions
}

impl Expression {
    /// The settings that it reads, also by the functions that it calls.
    pub(super) fn reads(&self, functions: &Functions<'_>) -> Vec<Read> {
        self.reads_in(&self.all(), functions)
    }

    fn reads_in(&self, range: &Range<usize>, functions: &Functions<'_>) -> Vec<Read> {
        let mut found = Vec::new();
        for at in range.clone() {
            let Some(close) = self.call(at) else { continue };
            let Some(name) = self.name(at) else { continue };
            if name == "current_setting" {
                // Settings of the server's own have no dot.
                if let Some(Token::Literal(setting)) = self.token(at + 2)
                    && setting.contains('.')
                {
                    let reading =
                        Setting { name: setting.clone(), claims: self.claims(close + 1, range.end) };
                    found.push((reading, self.used(at, range)));
                }
                continue;
            }
            for (reading, by) in self.called(at, functions).iter().flat_map(|function| &function.reads) {
                let mut reading = reading.clone();
                if reading.claims.is_empty() {
                    // It gives a document, of which the caller takes a part.
                    reading.claims = self.claims(close + 1, range.end);
                }
                found.push((reading, (*by).min(self.used(at, range))));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What it compares with settings, also by the functions that it calls.
    pub(super) fn compares(&self, functions: &Functions<'_>) -> Vec<Compared> {
        let mut found = Vec::new();
        for at in self.all() {
            let operands = match (self.symbol(at), self.word(at)) {
                (Some("="), _) | (_, Some("in")) => [self.start(at)..at, at + 1..self.end(at + 1)],
                (_, Some("distinct")) if self.word(at + 1) == Some("from") => {
                    let is =
                        at.saturating_sub(if self.word(at.saturating_sub(1)) == Some("not") { 2 } else { 1 });
                    [self.start(is)..is, at + 2..self.end(at + 2)]
                }
                _ => {
                    self.compares_by_call(at, functions, &mut found);
                    continue;
                }
            };
            let [left, right] = &operands;
            // An assignment of UPDATE.
            if left.start > 0 && self.word(left.start - 1) == Some("set") {
                continue;
            }
            for (column, other) in [(left, right), (right, left)] {
                let Some(name) = self.column(column) else { continue };
                found.extend(
                    self.reads_in(other, functions)
                        .into_iter()
                        .filter(|(_, by)| *by != Use::Compared)
                        .map(|(reading, by)| Compared { name: name.clone(), is_within: false, reading, by }),
                );
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What a function that is called compares, its parameters being what is given to it.
    fn compares_by_call(&self, at: usize, functions: &Functions<'_>, found: &mut Vec<Compared>) {
        let called = self.called(at, functions);
        let (Some(close), false) = (self.call(at), called.is_empty()) else { return };
        let arguments = self.arguments(at + 1, close);
        let given: Vec<Setting> =
            self.reads_in(&(at + 2..close), functions).into_iter().map(|(reading, _)| reading).collect();
        for function in called {
            let mut settled = vec![false; arguments.len()];
            for compared in &function.compares {
                let place = (!compared.is_within).then(|| parameter(function, &compared.name)).flatten();
                let Some(place) = place else {
                    found.push(Compared { is_within: true, ..compared.clone() });
                    continue;
                };
                if let Some(name) = arguments.get(place).and_then(|argument| self.column(argument)) {
                    settled[place] = true;
                    found.push(Compared { name, ..compared.clone() });
                }
            }
            // What becomes of the others is the function's secret: it may look them up.
            let unsettled = arguments.iter().zip(&settled).filter(|(_, settled)| !**settled);
            for name in unsettled.filter_map(|(argument, _)| self.column(argument)) {
                for reading in function.reads.iter().map(|(reading, _)| reading).chain(&given) {
                    found.push(Compared {
                        name: name.clone(),
                        is_within: false,
                        reading: reading.clone(),
                        by: Use::LookedUp,
                    });
                }
            }
        }
    }

    fn called<'f, 'a>(&self, at: usize, functions: &'f Functions<'a>) -> &'f [&'a Known] {
        self.name(at).and_then(|name| functions.get(name)).map_or(&[], Vec::as_slice)
    }

    /// What becomes of what is read at `at`.
    fn used(&self, at: usize, range: &Range<usize>) -> Use {
        let mut by = Use::Given;
        let mut start = at;
        loop {
            // The operand itself, then what stands before it at this level.
            let operand = self.start(start).max(range.start);
            let end = self.end(start).min(range.end);
            let is_question = |at: usize| range.contains(&at) && self.is_question(at);
            if operand.checked_sub(1).is_some_and(is_question) || is_question(end) {
                by = Use::Compared;
            }
            let mut has_from = false;
            let mut place = operand;
            let open = loop {
                let Some(before) = place.checked_sub(1).filter(|before| *before >= range.start) else {
                    break None;
                };
                match self.tokens[before] {
                    Token::Open => break Some(before),
                    Token::Close => place = self.halves[before].unwrap_or(before),
                    _ => {
                        match self.word(before) {
                            Some("from") => has_from = true,
                            Some("select") if has_from => return Use::LookedUp,
                            _ if self.symbol(before) == Some(";") => has_from = false,
                            _ => {}
                        }
                        place = before;
                    }
                }
            };
            match open {
                Some(open) => start = open,
                None => return by,
            }
        }
    }

    /// The parts of a document that are taken by `->` and `->>` of what ends before `at`.
    fn claims(&self, mut at: usize, end: usize) -> Vec<String> {
        let mut claims = Vec::new();
        while at < end {
            match (&self.tokens[at], self.symbol(at), self.word(at)) {
                (_, Some("->" | "->>"), _) => {
                    let Some(Token::Literal(claim)) = self.token(at + 1) else { break };
                    claims.push(claim.clone());
                    at += 2;
                }
                (_, Some("::"), _) => {
                    at += 1;
                    while at < end
                        && (self.name(at).is_some() && !self.is_bound(at) && self.word(at) != Some("as")
                            || matches!(self.symbol(at), Some("." | "[" | "]")))
                    {
                        at += 1;
                    }
                }
                // `(select auth.jwt() as jwt) ->> …`
                (_, _, Some("as")) if self.token(at + 2) == Some(&Token::Close) => at += 2,
                (Token::Close, ..) => {
                    let Some(open) = self.halves[at] else { break };
                    let function = open.checked_sub(1).and_then(|before| self.word(before));
                    if function.is_some_and(|word| !THROUGH.contains(&word) && !BOUNDS.contains(&word)) {
                        break;
                    }
                    at += 1;
                }
                // The other arguments of `nullif` and its like.
                (_, Some(","), _) => match (at..end).find(|place| self.closes_around(*place, at)) {
                    Some(close) => at = close,
                    None => break,
                },
                _ => break,
            }
        }
        claims
    }

    /// Whether the parenthesis that closes at `close` opens before `at`.
    fn closes_around(&self, close: usize, at: usize) -> bool {
        self.tokens[close] == Token::Close && self.halves[close].is_some_and(|open| open < at)
    }
}

/// Which parameter of a function a name within it is.
fn parameter(function: &Known, name: &[String]) -> Option<usize> {
    let name = match name {
        [name] => name,
        [before, name] if *before == function.name => name,
        _ => return None,
    };
    if let Some(place) = name.strip_prefix('$') {
        return place.parse::<usize>().ok()?.checked_sub(1);
    }
    function.parameters.iter().position(|own| own == name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rstest::rstest;

    /// Functions that read settings, as projects have them.
    pub(in super::super) fn functions() -> Vec<Known> {
        let bodies = [
            (
                "uid",
                "",
                "select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid",
            ),
            ("jwt", "", "select current_setting('request.jwt.claims', true)::jsonb"),
            ("role", "", "select current_setting('request.jwt.claims', true)::jsonb ->> 'role'"),
            ("tenant", "", "begin return current_tenant_or_none(); end"),
            ("current_tenant_or_none", "", "select current_setting('app.tenant', true)"),
            ("claimed", "", "select nullif(auth.jwt() ->> 'tenant_id', '')::uuid"),
            ("is_mine", "t", "select t = claimed()"),
            (
                "is_member",
                "of_account",
                "select exists (select from members m where m.who = auth.uid() and m.account = $1)",
            ),
            ("my_account", "", "select account from members where members.who = auth.uid()"),
            ("is_admin", "", "select current_setting('app.role', true) = 'admin'"),
        ];
        let body = |(name, parameter, text): (&str, &str, &str)| {
            let parameters = parameter.split_whitespace().map(str::to_owned).collect();
            (name.to_owned(), parameters, text.to_owned())
        };
        known(bodies.map(body).to_vec())
    }

    #[rstest]
    #[case("(tenant_id = (current_setting('app.tenant_id'::text, true))::uuid)", &["app.tenant_id"])]
    #[case("(auth.uid() = user_id)", &["request.jwt.claim.sub", "request.jwt.claims ->> sub"])]
    #[case("(org = ((auth.jwt() -> 'app_metadata'::text) ->> 'org'::text))", &["request.jwt.claims -> app_metadata ->> org"])]
    #[case("(org = (( SELECT auth.jwt() AS jwt) ->> 'org'::text))", &["request.jwt.claims ->> org"])]
    #[case("(tenant_id = tenant())", &["app.tenant"])]
    #[case("(tenant_id = claimed())", &["request.jwt.claims ->> tenant_id"])]
    #[case("(current_setting('role') = 'x' and not my_tenant())", &[])]
    #[case("((current_setting('a.b') = c) and (d ->> 'e') = f)", &["a.b"])]
    fn what_an_expression_reads(#[case] text: &str, #[case] expected: &[&str]) {
        let known = functions();
        let found = Expression::of(text).reads(&by_name(&known));
        assert_eq!(found.iter().map(|(reading, _)| reading.spelled()).collect::<Vec<_>>(), expected);
    }
}
