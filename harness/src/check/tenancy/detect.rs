//! What the policies of a database say of its tenants, for a project that does not.

use crate::check::{Tenancy, TenancyModel};
use crate::error::{Attempt, ErrorKind, Result};
use sqlx::{PgConnection, Row};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Words in the names of columns and settings that speak of tenants, the likeliest first.
const WORDS: &[&str] =
    &["tenant", "org", "account", "workspace", "company", "customer", "team", "owner", "user"];

/// How many functions may call one another.
const DEPTH_MAX: usize = 4;

/// How far behind a document an arrow may stand.
const CAST_MAX: usize = 60;

struct Policy {
    table: String,
    text: String,
    /// The columns of its table that it looks at.
    columns: Vec<String>,
    /// The functions that it calls, by their object ids.
    calls: Vec<i64>,
}

struct Function {
    name: String,
    text: String,
}

type Functions = BTreeMap<i64, Function>;

/// A setting that a policy reads, and the way within it if it is a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    name: String,
    claims: Vec<String>,
}

const POLICIES: &str = "
    select format('%s.%s', n.nspname, c.relname) as table,
        concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) as text,
        array(
            select distinct a.attname::text from pg_depend d
            join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
            where d.classid = 'pg_policy'::regclass and d.objid = p.oid
                and d.refclassid = 'pg_class'::regclass and d.refobjid = p.polrelid and a.attnum > 0
        ) as columns,
        array(
            select distinct d.refobjid::int8 from pg_depend d
            where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_proc'::regclass
        ) as calls
    from pg_policy p
    join pg_class c on c.oid = p.polrelid
    join pg_namespace n on n.oid = c.relnamespace
    where not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
    order by 1, p.polname";

const FUNCTIONS: &str = "
    select p.oid::int8, p.proname::text as name, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) as text
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang
    where p.prokind = 'f' and l.lanname in ('sql', 'plpgsql') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";

/// How tenants are kept apart as far as the policies tell it, and what was assumed; or why they tell nothing. What
/// is `declared` stays.
pub(super) async fn detect(
    connection: &mut PgConnection,
    declared: Option<&Tenancy>,
) -> Result<Result<(Tenancy, String), String>> {
    let policies = policies(connection).await?;
    let functions = functions(connection).await?;
    // By the names of columns the tables, and by setting the policies.
    let mut columns: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut settings: BTreeMap<Reading, usize> = BTreeMap::new();
    for policy in &policies {
        let readings = readings(&policy.text, &policy.calls, &functions, 0);
        if readings.is_empty() {
            continue;
        }
        for column in policy.columns.iter().filter(|column| *column != "id") {
            columns.entry(column).or_default().insert(&policy.table);
        }
        for reading in readings {
            *settings.entry(reading).or_default() += 1;
        }
    }
    let most = columns.iter().max_by_key(|(column, tables)| (tables.len(), Reverse(rank(column))));
    let column = match (declared, most) {
        (Some(declared), _) => declared.column.clone(),
        (None, Some((column, _))) => (*column).to_owned(),
        (None, None) => return Ok(Err("there is no `[tenancy]`, and no policy that reads a setting".into())),
    };
    let likeliest = settings.iter().max_by_key(|(reading, count)| {
        let is_alike = word(&column).is_some_and(|word| spelled(reading).to_ascii_lowercase().contains(word));
        (is_alike, **count, Reverse(reading.claims.len()))
    });
    let Some((reading, _)) = likeliest else {
        return Ok(Err("needs `tenancy.setting`: no policy reads a setting".into()));
    };
    let setting = spelled(reading);
    let note = match declared {
        Some(_) => format!("the setting `{setting}` is assumed, by what policies read"),
        None => format!(
            "there is no `[tenancy]`: the column `{column}` and the setting `{setting}` are assumed, by what policies read"
        ),
    };
    let tenancy = match declared {
        Some(declared) => Tenancy { setting: Some(setting), ..declared.clone() },
        None => Tenancy {
            model: TenancyModel::Rls,
            column,
            setting: Some(setting),
            roles: Vec::new(),
            exempt: Vec::new(),
            schemas: None,
            onboard: None,
        },
    };
    Ok(Ok((tenancy, note)))
}

async fn policies(connection: &mut PgConnection) -> Result<Vec<Policy>> {
    let rows = sqlx::query(POLICIES)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to read the policies".into())?;
    let policy = |row: &sqlx::postgres::PgRow| {
        Ok(Policy {
            table: row.try_get("table")?,
            text: row.try_get("text")?,
            columns: row.try_get("columns")?,
            calls: row.try_get("calls")?,
        })
    };
    rows.iter().map(policy).collect()
}

async fn functions(connection: &mut PgConnection) -> Result<Functions> {
    let rows = sqlx::query(FUNCTIONS)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to read the functions".into())?;
    let function = |row: &sqlx::postgres::PgRow| {
        Ok((row.try_get("oid")?, Function { name: row.try_get("name")?, text: row.try_get("text")? }))
    };
    rows.iter().map(function).collect()
}

/// The settings that an expression reads, also by the functions that it calls. The server knows what a policy calls;
/// what it gives to `current_setting`, and what a body of text calls, only the text says.
fn readings(text: &str, calls: &[i64], functions: &Functions, depth: usize) -> Vec<Reading> {
    let mut found = Vec::new();
    for (at, call) in text.match_indices("current_setting(") {
        let rest = text[at + call.len()..].trim_start();
        let Some((name, rest)) = literal(rest) else { continue };
        // Settings of the server's own have no dot.
        if name.contains('.') {
            found.push(Reading { name: name.to_owned(), claims: arrows(rest) });
        }
    }
    if depth == DEPTH_MAX {
        return found;
    }
    for (oid, function) in functions {
        let call = format!("{}(", function.name);
        let place = text.match_indices(&call).map(|(at, _)| at).find(|at| {
            let before = text[..*at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        });
        if place.is_none() && !calls.contains(oid) {
            continue;
        }
        for mut inner in readings(&function.text, &[], functions, depth + 1) {
            if inner.claims.is_empty()
                && let Some(at) = place
            {
                // It gives a document, of which the caller takes a part.
                inner.claims = arrows(&text[at + call.len()..]);
            }
            found.push(inner);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The string literal that `text` begins with, and what follows.
fn literal(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('\'')?.split_once('\'')
}

/// The parts of a document that are taken by `->` and `->>` of what comes before.
fn arrows(mut text: &str) -> Vec<String> {
    let mut claims = Vec::new();
    while let Some((cast, rest)) = text.split_once("->") {
        let is_cast = cast.len() <= CAST_MAX
            && cast.chars().all(|c| c.is_alphanumeric() || " \n\t_:(),'".contains(c))
            && !cast
                .split_whitespace()
                .any(|word| matches!(word.to_ascii_lowercase().as_str(), "and" | "or"));
        let Some((claim, rest)) = literal(rest.trim_start_matches('>').trim_start()).filter(|_| is_cast)
        else {
            break;
        };
        claims.push(claim.to_owned());
        text = rest;
    }
    claims
}

/// As `tenancy.setting` has it.
fn spelled(reading: &Reading) -> String {
    let mut text = reading.name.clone();
    for (place, claim) in reading.claims.iter().enumerate() {
        let is_last = place + 1 == reading.claims.len();
        text.push_str(if is_last { " ->> " } else { " -> " });
        text.push_str(claim);
    }
    text
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
    use super::*;
    use rstest::rstest;

    fn functions() -> Functions {
        [
            (
                "uid",
                "select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid",
            ),
            ("jwt", "select current_setting('request.jwt.claims', true)::jsonb"),
            ("tenant", "begin return current_tenant_or_none(); end"),
            ("current_tenant_or_none", "select current_setting('app.tenant', true)"),
        ]
        .into_iter()
        .zip(1..)
        .map(|((name, text), oid)| (oid, Function { name: name.into(), text: text.into() }))
        .collect()
    }

    #[rstest]
    #[case("(tenant_id = (current_setting('app.tenant_id'::text, true))::uuid)", &["app.tenant_id"])]
    #[case("(auth.uid() = user_id)", &["request.jwt.claim.sub", "request.jwt.claims ->> sub"])]
    #[case("(org = ((auth.jwt() -> 'app_metadata'::text) ->> 'org'::text))", &["request.jwt.claims -> app_metadata ->> org"])]
    #[case("(tenant_id = tenant())", &["app.tenant"])]
    #[case("(current_setting('role') = 'x' and not my_tenant())", &[])]
    #[case("((current_setting('a.b') = c) and (d ->> 'e') = f)", &["a.b"])]
    fn what_an_expression_reads(#[case] text: &str, #[case] expected: &[&str]) {
        let found = readings(text, &[], &functions(), 0);
        assert_eq!(found.iter().map(spelled).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_likeliest_of_two_names_is_the_one_that_speaks_of_tenants() {
        assert!(rank("tenant_id") < rank("user_id"));
        assert!(rank("user_id") < rank("colour"));
    }
}
