//! What policies have to do with settings and columns, and which of them say whose a row is.

use super::comparison::{Compared, Known, Use, by_name};
use super::expression::Expression;
use super::setting::Setting;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Words in the names of columns and settings that speak of tenants, the likeliest first.
const WORDS: &[&str] =
    &["tenant", "org", "account", "workspace", "company", "customer", "team", "owner", "user"];

/// Where PostgREST put each claim by itself before its version 9; functions still ask there first.
const LEGACY: &str = "request.jwt.claim";

/// A column that says by its name only which row it is, not whose.
const KEY: &str = "id";

/// A policy of a table.
pub(super) struct Policy {
    pub(super) table: String,
    /// The table's name without its schema.
    pub(super) name: String,
    pub(super) text: String,
    /// The columns of its table that it looks at.
    pub(super) columns: Vec<String>,
}

/// What a policy has to do with a setting and a column, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tie {
    /// It reads the one and looks at the other.
    Read,
    /// It compares them, and the column is the key of some table.
    Key,
    /// It compares the column with what the setting finds elsewhere.
    LookedUp,
    /// It compares the setting with a column of another table, and so finds its own rows.
    Elsewhere,
    /// It compares them, and the column is its own table's.
    Own,
}

/// The setting and the column by which policies keep rows apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    /// As `tenancy.setting` has it.
    pub(crate) setting: String,
    /// None where policies read the setting and look at no column.
    pub(crate) column: Option<String>,
    /// How many tables have such policies.
    pub(crate) tables: usize,
}

/// By setting and column how they are tied, and by which tables' policies.
pub(super) type Ties = BTreeMap<(Setting, Option<String>), Tied>;

/// By which tables' policies two are tied, in each way.
type Tied = BTreeMap<Tie, BTreeSet<String>>;

/// What each policy has to do with the settings that it reads.
pub(super) fn ties(policies: &[Policy], known: &[Known]) -> Ties {
    let functions = by_name(known);
    let mut ties = Ties::new();
    for policy in policies {
        let mut add = |reading: Setting, column: Option<&str>, tie: Tie| {
            let of_pair = ties.entry((reading, column.map(str::to_owned))).or_default();
            of_pair.entry(tie).or_default().insert(policy.table.clone());
        };
        let expression = Expression::of(&policy.text);
        for (reading, _) in expression.reads(&functions) {
            add(reading.clone(), None, Tie::Read);
            for column in policy.columns.iter().filter(|column| *column != KEY) {
                add(reading.clone(), Some(column), Tie::Read);
            }
        }
        for compared in expression.compares(&functions) {
            if let Some((column, tie)) = tie(policy, &compared) {
                add(compared.reading.clone(), Some(column), tie);
            }
        }
    }
    ties
}

fn tie<'a>(policy: &Policy, compared: &'a Compared) -> Option<(&'a str, Tie)> {
    let (column, before) = compared.name.split_last()?;
    // The server writes a column of the policy's own table without it, save in a query within.
    let is_own = !compared.is_within
        && before.last().map_or_else(|| policy.columns.contains(column), |table| *table == policy.name);
    let tie = match (is_own, compared.by) {
        (_, Use::Given) | (true, Use::LookedUp) if column == KEY => Tie::Key,
        (true, Use::Given) => Tie::Own,
        (false, Use::Given) => Tie::Elsewhere,
        (true, Use::LookedUp) => Tie::LookedUp,
        _ => return None,
    };
    Some((column, tie))
}

/// The setting that most policies compare with a column, and the column that most compare with it.
pub(super) fn likeliest(ties: &Ties, wanted: Option<&str>) -> Option<Detected> {
    let is_wanted = |column: &Option<String>| wanted.is_some() && column.as_deref() == wanted;
    let is_any_wanted = ties.keys().any(|(_, column)| is_wanted(column));
    let mut settings: BTreeMap<&Setting, Vec<(&str, &Tied)>> = BTreeMap::new();
    for ((reading, column), tied) in ties {
        if is_any_wanted && !is_wanted(column) {
            continue;
        }
        settings.entry(reading).or_default().push((column.as_deref().unwrap_or_default(), tied));
    }
    let scored = settings.into_iter().filter_map(|(reading, columns)| {
        let best = columns.iter().filter_map(|(_, tied)| tied.keys().max()).max().copied()?;
        let tables = |tied: &Tied| tied.get(&best).map_or(0, BTreeSet::len);
        let all: BTreeSet<&String> =
            columns.iter().filter_map(|(_, tied)| tied.get(&best)).flatten().collect();
        let (column, tied) = columns
            .iter()
            .filter(|(_, tied)| tables(tied) > 0)
            .max_by_key(|(column, tied)| {
                (!column.is_empty(), tables(tied), in_all(tied), Reverse(rank(column)), Reverse(*column))
            })
            .copied()?;
        let spelled = reading.spelled();
        let is_alike = word(column).is_some_and(|word| spelled.to_ascii_lowercase().contains(word));
        let is_legacy = reading.name == LEGACY || reading.name.starts_with(&format!("{LEGACY}."));
        let score =
            (best, all.len(), is_alike, Reverse(rank(column)), !is_legacy, Reverse(reading.claims.len()));
        let found = Detected {
            setting: spelled,
            column: (!column.is_empty()).then(|| column.to_owned()),
            tables: tables(tied),
        };
        Some((score, Reverse(reading), found))
    });
    scored.max_by(|(a, x, _), (b, y, _)| (a, x).cmp(&(b, y))).map(|(.., found)| found)
}

/// By how many tables' policies they are compared in whatever way.
fn in_all(tied: &Tied) -> usize {
    let compared = tied.iter().filter(|(tie, _)| **tie > Tie::Read);
    compared.flat_map(|(_, tables)| tables).collect::<BTreeSet<_>>().len()
}

fn word(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    WORDS.iter().copied().find(|word| name.contains(word))
}

fn rank(name: &str) -> usize {
    word(name).and_then(|word| WORDS.iter().position(|other| *other == word)).unwrap_or(WORDS.len())
}

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::functions;
    use super::*;
    use rstest::rstest;

    /// Policies as `table: columns: text`.
    #[rstest]
    #[case::a_setting_to_pass_by(
        &["a: t: (current_setting('x.bypass'::text, true) = 'on'::text)", "b: t: (current_setting('x.bypass'::text, true) = 'on'::text)",
          "a: \"tenantId\": (\"tenantId\" = 0) OR (\"tenantId\" = (current_setting('x.tenantId'::text, true))::integer)"],
        "x.tenantId by tenantId in 1"
    )]
    #[case::a_role_that_more_policies_ask_for(
        &["a: tenant_id: (tenant_id = (current_setting('x.tenant'::text, true))::uuid)",
          "a: farmer_id: ((current_setting('x.role'::text, true) = ANY (ARRAY['a'::text])) OR (farmer_id = (current_setting('x.farmer'::text, true))::uuid))",
          "b: tenant_id: (tenant_id = (current_setting('x.tenant'::text, true))::uuid)",
          "b: farmer_id: (current_setting('x.role'::text, true) = ANY (ARRAY['a'::text]))",
          "c: farmer_id: (current_setting('x.role'::text, true) = ANY (ARRAY['a'::text]))"],
        "x.tenant by tenant_id in 2"
    )]
    #[case::a_key_only_where_nothing_else_is(
        &["tenants: id: (id = (NULLIF(current_setting('x.t'::text, true), ''::text))::uuid)",
          "items: tenant_id: (tenant_id = (NULLIF(current_setting('x.t'::text, true), ''::text))::uuid)",
          "others: id: (id = (NULLIF(current_setting('x.t'::text, true), ''::text))::uuid)"],
        "x.t by tenant_id in 1"
    )]
    #[case::a_key(&["tenants: id: (id = (current_setting('x.t'::text))::uuid)"], "x.t by id in 1")]
    #[case::a_claim_within_a_document(
        &["a: id: (auth.role() = 'authenticated'::text)", "a: created_by: (auth.uid() = created_by)",
          "b: user_id: (auth.uid() = user_id)", "c: user_id: (( SELECT auth.uid() AS uid) = user_id)"],
        "request.jwt.claims ->> sub by user_id in 2"
    )]
    #[case::two_functions_deep(
        &["tenant: id: (id = claimed())", "a: tenant_id: (tenant_id = claimed())"],
        "request.jwt.claims ->> tenant_id by tenant_id in 1"
    )]
    #[case::rows_found_by_another_table(
        &["campaigns: user_id: (user_id = auth.uid())",
          "b: contact_id: (contact_id IN ( SELECT c.id FROM (contacts c JOIN campaigns ca ON ((ca.id = c.campaign_id))) WHERE (ca.user_id = auth.uid())))",
          "c: contact_id: (contact_id IN ( SELECT c.id FROM (contacts c JOIN campaigns ca ON ((ca.id = c.campaign_id))) WHERE (ca.user_id = auth.uid())))"],
        "request.jwt.claims ->> sub by user_id in 1"
    )]
    #[case::a_parameter(&["a: org: is_mine(org)", "b: org: is_mine((org)::uuid)"], "request.jwt.claims ->> tenant_id by org in 2")]
    #[case::members(
        &["a: account: is_member(account)", "b: account: is_member(account)", "m: who: (who = auth.uid())"],
        "request.jwt.claims ->> sub by who in 1"
    )]
    #[case::two_columns_and_a_function_that_asks_for_one(
        &["a: owner: (owner = auth.uid())", "m: who: (who = auth.uid())", "b: account: is_member(account)"],
        "request.jwt.claims ->> sub by who in 1"
    )]
    #[case::members_alone(&["a: account: (account = my_account())"], "request.jwt.claims ->> sub by who in 1")]
    #[case::distinct(&["a: t: (NOT (t IS DISTINCT FROM (current_setting('x.t'::text))::uuid))"], "x.t by t in 1")]
    #[case::a_column_that_is_only_looked_at(&["a: t: (is_admin() AND (t > 0))"], "app.role by t in 1")]
    #[case::no_column(&["a: : is_admin()"], "app.role")]
    #[case::nothing(&["a: t: (t = 1)"], "nothing")]
    fn the_likeliest(#[case] policies: &[&str], #[case] expected: &str) {
        let policy = |text: &&str| {
            let [table, columns, text] = text.splitn(3, ": ").collect::<Vec<_>>()[..] else {
                panic!("{text}")
            };
            let columns = columns.split_whitespace().map(|column| column.trim_matches('"').to_owned());
            Policy { table: table.into(), name: table.into(), text: text.into(), columns: columns.collect() }
        };
        let policies: Vec<Policy> = policies.iter().map(policy).collect();
        let found = likeliest(&ties(&policies, &functions()), None);
        let told = found.map_or_else(
            || "nothing".to_owned(),
            |found| match found.column {
                Some(column) => format!("{} by {column} in {}", found.setting, found.tables),
                None => found.setting,
            },
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn a_column_that_is_wanted_decides_the_setting() {
        let policy = |text: &str, column: &str| Policy {
            table: text.into(),
            name: text.into(),
            text: text.into(),
            columns: vec![column.into()],
        };
        let policies = [
            policy("(who = current_setting('x.who'::text))", "who"),
            policy("((who)::text = current_setting('x.who'::text))", "who"),
            policy("(org = current_setting('x.org'::text))", "org"),
        ];
        let ties = ties(&policies, &[]);
        let setting = |wanted| likeliest(&ties, wanted).map(|found| found.setting);
        assert_eq!(setting(None).as_deref(), Some("x.who"));
        assert_eq!(setting(Some("org")).as_deref(), Some("x.org"));
        // Of a column that no policy looks at they say nothing.
        assert_eq!(setting(Some("team")).as_deref(), Some("x.who"));
    }

    #[test]
    fn the_likeliest_of_two_names_is_the_one_that_speaks_of_tenants() {
        assert!(rank("tenant_id") < rank("user_id"));
        assert!(rank("user_id") < rank("colour"));
    }
}
