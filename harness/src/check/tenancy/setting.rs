//! Settings, and what they say within documents.

use crate::ident::quote_literal;
use serde_json::{Map, Value};

/// A setting, and the way to what is wanted within it if it is a document. As `tenancy.setting` spells the one that says
/// whose session it is: `app.tenant_id`, `request.jwt.claims ->> sub`, `request.jwt.claims -> app_metadata ->> tenant`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Setting {
    pub(super) name: String,
    /// The way within the document; empty where it is none.
    pub(super) claims: Vec<String>,
}

impl Setting {
    pub(super) fn parse(text: &str) -> Setting {
        let mut parts = text.split("->").map(|part| part.trim_start_matches('>').trim().trim_matches('\''));
        let name = parts.next().unwrap_or_default().to_owned();
        Setting { name, claims: parts.map(str::to_owned).collect() }
    }

    /// As `tenancy.setting` has it.
    pub(super) fn spelled(&self) -> String {
        format!("{}{}", self.name, self.way(ToOwned::to_owned))
    }

    /// What policies are to compare the tenant with: null, where it is not set or empty, within a document too.
    pub(super) fn expression(&self) -> String {
        let value = format!("nullif(current_setting({}, true), '')", quote_literal(&self.name));
        if self.claims.is_empty() {
            return value;
        }
        format!("nullif({value}::jsonb{}, '')", self.way(quote_literal))
    }

    /// The way within the document, each claim being `written`.
    fn way(&self, written: impl Fn(&str) -> String) -> String {
        let mut way = String::new();
        for (place, claim) in self.claims.iter().enumerate() {
            let is_last = place + 1 == self.claims.len();
            way.push_str(if is_last { " ->> " } else { " -> " });
            way.push_str(&written(claim));
        }
        way
    }

    /// Its value in a session of `tenant`.
    pub(super) fn value(&self, tenant: &str) -> String {
        if self.claims.is_empty() {
            return tenant.to_owned();
        }
        let inner = Value::String(tenant.to_owned());
        let document = self
            .claims
            .iter()
            .rev()
            .fold(inner, |inner, claim| Value::Object(Map::from_iter([(claim.clone(), inner)])));
        document.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("app.tenant_id", "nullif(current_setting('app.tenant_id', true), '')")]
    #[case(
        "request.jwt.claims ->> sub",
        "nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')"
    )]
    #[case("a.b -> c ->> d", "nullif(nullif(current_setting('a.b', true), '')::jsonb -> 'c' ->> 'd', '')")]
    fn policies_take_the_way_into_a_document(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Setting::parse(text).expression(), expected);
    }

    #[rstest]
    #[case("app.tenant_id", "app.tenant_id", "a'b")]
    #[case("request.jwt.claims ->> sub", "request.jwt.claims", r#"{"sub":"a'b"}"#)]
    #[case("request.jwt.claims->'meta'->>'org'", "request.jwt.claims", r#"{"meta":{"org":"a'b"}}"#)]
    fn a_tenant_is_the_value_or_within_it(#[case] text: &str, #[case] name: &str, #[case] value: &str) {
        let setting = Setting::parse(text);
        assert_eq!((setting.name.as_str(), setting.value("a'b").as_str()), (name, value));
        assert_eq!(Setting::parse(&setting.spelled()), setting);
    }
}
