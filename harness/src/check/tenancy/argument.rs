//! What a function is given so that it shows whose rows it sees.

use super::attack::Attack;
use super::probe::ROW;
use super::routine::{Parameter, Routine};
use super::tables::Relation;
use super::tenants::Tenants;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::Evidence;
use crate::ident::{QualifiedName, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;

/// What somebody has to know who calls a function like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knows {
    /// Nothing of other tenants.
    Nothing,
    /// The other tenant's id.
    Tenant,
    /// The key of one of its rows.
    Key,
    /// A text that stands in one of its rows, which may be a secret: a token, a mail address.
    Text,
}

impl Knows {
    /// As the end of a sentence on a call.
    pub(super) fn told(self) -> &'static str {
        match self {
            Knows::Nothing => "",
            Knows::Tenant => ", given the other tenant's id",
            Knows::Key => ", given the key of one of its rows",
            Knows::Text => ", given a text of one of its rows",
        }
    }
}

/// The arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) values: Vec<String>,
    pub(super) knows: Knows,
    /// The table of whose row of the other tenant they speak.
    pub(super) row: Option<QualifiedName>,
}

impl Arguments {
    /// The row that they speak of, where there is one.
    pub(super) fn row_in<'a>(&self, samples: &'a Samples) -> Option<&'a str> {
        Some(&samples.get(self.row.as_ref()?)?.json)
    }

    /// All values that the caller brings along, some of them taken from `row`.
    pub(super) fn sent(&self, row: Option<&str>) -> String {
        let mut sent = self.values.join(" ");
        let row = row.and_then(|row| serde_json::from_str::<serde_json::Value>(row).ok());
        let columns = row.as_ref().and_then(|row| row.as_object());
        for (column, held) in columns.into_iter().flatten() {
            let is_taken = |value: &String| value.contains(&format!("> {})", quote_literal(column)));
            if self.values.iter().any(is_taken) {
                sent.push(' ');
                sent.push_str(held.as_str().unwrap_or_default());
            }
        }
        sent
    }
}

/// A row of the other tenant, and what is known of its table.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    json: String,
    /// Each column with the name of its type.
    columns: BTreeMap<String, String>,
    keys: Vec<String>,
}

/// A row of the other tenant of each table that has one.
pub(super) type Samples = BTreeMap<QualifiedName, Sample>;

/// The expression that a sample is, for a transcript.
pub(super) fn sample_sql(relation: &Relation, tenants: &Tenants) -> String {
    format!(
        "select to_jsonb(r)::text from {} r where r.{} = {} order by r::text limit 1",
        relation.name.sql(),
        relation.column,
        quote_literal(&tenants.other)
    )
}

/// The step that lays the row ready that the arguments speak of, if they do.
pub(super) fn laid(attack: &Attack, arguments: &Arguments) -> Option<Evidence> {
    let table = arguments.row.as_ref()?;
    let relation = attack.relations.iter().find(|known| known.name == *table)?;
    let whose = format!("a row of tenant {}", quote_literal(&attack.tenants.other));
    Some(attack.laid(&sample_sql(relation, &attack.tenants), whose))
}

/// A row of the other tenant of each of `relations`.
pub(super) async fn samples(
    connection: &mut PgConnection,
    tenants: &Tenants,
    relations: &[Relation],
) -> Result<Samples> {
    let mut samples = Samples::new();
    for relation in relations.iter().filter(|relation| relation.is_store() && relation.kind != "partition") {
        let json: Option<String> = sqlx::query_scalar(AssertSqlSafe(sample_sql(relation, tenants)))
            .fetch_optional(&mut *connection)
            .await
            .attempt(ErrorKind::Database, || format!("failed to read a row of `{}`", relation.name))?;
        let Some(json) = json else { continue };
        let columns: Vec<(String, String, bool)> = sqlx::query_as(
            "select a.attname::text, b.typname::text, coalesce(a.attnum = any (i.indkey), false)
             from pg_attribute a
             join pg_type t on t.oid = a.atttypid
             join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
             left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
             where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum",
        )
        .bind(relation.name.sql())
        .fetch_all(&mut *connection)
        .await
        .attempt(ErrorKind::Database, || format!("failed to read the columns of `{}`", relation.name))?;
        let keys = columns.iter().filter(|(_, _, is_key)| *is_key).map(|(name, ..)| name.clone()).collect();
        let columns = columns.into_iter().map(|(name, base, _)| (name, base)).collect();
        samples.insert(relation.name.clone(), Sample { json, columns, keys });
    }
    Ok(samples)
}

/// How many tables a function is asked for rows of.
const TABLES_MAX: usize = 4;

/// The ways to call `routine`, those that need to know least first.
pub(super) fn ways(attack: &Attack, routine: &Routine, samples: &Samples) -> Vec<Arguments> {
    let base = attack.relations.first().map(|relation| relation.type_name.as_str()).unwrap_or_default();
    choose(routine, samples, &attack.tenants, &attack.tenancy.column, base)
}

/// As [`ways`]; `column` is the tenants', of the type `base`.
fn choose(
    routine: &Routine,
    samples: &Samples,
    tenants: &Tenants,
    column: &str,
    base: &str,
) -> Vec<Arguments> {
    let all = &routine.parameters;
    let call = |knows, row: Option<&QualifiedName>, values| Arguments { values, knows, row: row.cloned() };
    let each = |value: &dyn Fn(usize, &Parameter) -> String| -> Vec<String> {
        all.iter().enumerate().map(|(place, parameter)| value(place, parameter)).collect()
    };
    let wide = each(&|place, parameter| wide(all, place, parameter));
    let mut calls = vec![call(Knows::Nothing, None, wide.clone())];
    calls.push(call(Knows::Nothing, None, each(&|_, parameter| typed("null", parameter))));
    let is_tenant = tenant_places(all, column, base);
    let of_tenant = |tenant: &str| -> Vec<String> {
        each(&|place, parameter| match is_tenant[place] {
            true => typed(&quote_literal(tenant), parameter),
            false => wide[place].clone(),
        })
    };
    if is_tenant.contains(&true) {
        calls.push(call(Knows::Tenant, None, of_tenant(&tenants.other)));
        calls.push(call(Knows::Nothing, None, of_tenant(&tenants.own)));
    }
    let mentioned: Vec<&QualifiedName> = if routine.mentions.is_empty() {
        samples.keys().collect()
    } else {
        routine.mentions.iter().filter(|name| samples.contains_key(*name)).collect()
    };
    for table in mentioned.into_iter().take(TABLES_MAX) {
        let Some(sample) = samples.get(table) else { continue };
        for tenant in [&tenants.own, &tenants.other] {
            let (values, knows) = of_row(all, &of_tenant(tenant), table, sample, column);
            calls.extend(knows.map(|knows| call(knows, Some(table), values)));
        }
    }
    let mut seen: Vec<Vec<String>> = Vec::new();
    calls.retain(|call| {
        let is_new = !seen.contains(&call.values);
        seen.push(call.values.clone());
        is_new
    });
    calls
}

fn typed(value: &str, parameter: &Parameter) -> String {
    let value = if parameter.is_output { "null" } else { value };
    format!("{value}::{}", parameter.type_sql)
}

/// A value that lets everything through where it is a bound or a filter.
fn wide(all: &[Parameter], place: usize, parameter: &Parameter) -> String {
    let is_time = |other: &Parameter| matches!(other.base.as_str(), "date" | "timestamp" | "timestamptz");
    let value = match (parameter.category.as_str(), parameter.base.as_str()) {
        _ if is_time(parameter) => {
            if all[..place].iter().any(is_time) {
                "'infinity'"
            } else {
                "'-infinity'"
            }
        }
        ("N", "numeric" | "float4" | "float8" | "int2" | "int4" | "int8") => "1000",
        ("B", _) => "true",
        ("S", "char") => "'a'",
        ("S", _) => "'%'",
        ("T", _) => "'100 years'",
        ("A", _) => "'{}'",
        ("E", _) => return format!("enum_first(null::{})", parameter.type_sql),
        (_, "json" | "jsonb") => "'{}'",
        _ => "null",
    };
    typed(value, parameter)
}

/// Which parameters are the tenant: by their names, or else by their type.
fn tenant_places(all: &[Parameter], column: &str, base: &str) -> Vec<bool> {
    let stem = column.strip_suffix("_id").unwrap_or(column).to_lowercase();
    let has_type = |parameter: &Parameter| !parameter.is_output && parameter.base == base;
    let is_named =
        |parameter: &Parameter| has_type(parameter) && parameter.name.to_lowercase().contains(&stem);
    let by_name: Vec<bool> = all.iter().map(is_named).collect();
    if by_name.contains(&true) { by_name } else { all.iter().map(has_type).collect() }
}

/// Arguments of which some are taken from a row, and what one has to know for them; nothing where none is.
fn of_row(
    all: &[Parameter],
    others: &[String],
    table: &QualifiedName,
    sample: &Sample,
    tenant: &str,
) -> (Vec<String>, Option<Knows>) {
    let mut knows = None;
    let values = all
        .iter()
        .zip(others)
        .map(|(parameter, other)| {
            let found = column_for(parameter, table, sample, tenant).filter(|_| !parameter.is_output);
            let Some(column) = found else { return other.clone() };
            let is_text = matches!(parameter.category.as_str(), "S") || parameter.base == "bytea";
            knows = knows.max(Some(if is_text { Knows::Text } else { Knows::Key }));
            let row = format!("current_setting({})::jsonb", quote_literal(ROW));
            let arrow = if matches!(parameter.base.as_str(), "json" | "jsonb") { "->" } else { "->>" };
            typed(&format!("({row} {arrow} {})", quote_literal(&column)), parameter)
        })
        .collect();
    (values, knows)
}

/// Numbers that are no keys.
const AMOUNTS: &[&str] = &["limit", "offset", "page", "size", "count", "max", "min", "days", "batch"];

/// The column of a row that a parameter asks for.
fn column_for(parameter: &Parameter, table: &QualifiedName, sample: &Sample, tenant: &str) -> Option<String> {
    let fits = |column: &&String| {
        *column != tenant && sample.columns.get(*column).is_some_and(|base| *base == parameter.base)
    };
    let bare = bare(&parameter.name);
    let own_key = |column: &&String| {
        let of_table = table.name.trim_end_matches('s');
        sample.keys.contains(column) && (bare.is_empty() || bare == format!("{of_table}_{column}"))
    };
    let columns = || sample.columns.keys().filter(fits);
    columns()
        .find(|column| **column == bare)
        .or_else(|| columns().find(own_key))
        // A key by its type: what else could be asked for?
        .or_else(|| {
            let is_amount = AMOUNTS.iter().any(|amount| bare.contains(amount));
            let is_key = match parameter.base.as_str() {
                "uuid" => true,
                "int8" | "int4" => !is_amount,
                "text" => bare.is_empty() || bare.ends_with("id") || bare.ends_with("key"),
                _ => false,
            };
            columns().find(|column| is_key && sample.keys.contains(column))
        })
        .cloned()
}

/// The name of a parameter without what people put before it.
fn bare(name: &str) -> String {
    let lower = name.to_lowercase();
    let prefixes = ["p_", "_", "in_", "arg_", "v_", "the_", "target_", "wanted_"];
    let stripped = prefixes.iter().find_map(|prefix| lower.strip_prefix(prefix));
    stripped.unwrap_or(&lower).trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parameter(name: &str, base: &str, category: &str) -> Parameter {
        Parameter {
            name: name.into(),
            type_sql: base.into(),
            base: base.into(),
            category: category.into(),
            is_output: false,
            is_variadic: false,
        }
    }

    fn routine(parameters: Vec<Parameter>) -> Routine {
        Routine {
            name: QualifiedName::new("public", "f"),
            signature: String::new(),
            may_write: false,
            is_procedure: false,
            is_open: false,
            parameters,
            callers: vec![],
            mentions: vec![QualifiedName::new("public", "orders")],
        }
    }

    fn calls(parameters: Vec<Parameter>) -> Vec<(Knows, String)> {
        let columns = [("id", "int8"), ("tenant_id", "uuid"), ("email", "text")];
        let sample = Sample {
            json: "{}".into(),
            columns: columns.map(|(name, base)| (name.to_owned(), base.to_owned())).into(),
            keys: vec!["id".into()],
        };
        let samples = Samples::from([(QualifiedName::new("public", "orders"), sample)]);
        let tenants = Tenants { own: "a".into(), other: "b".into() };
        let routine = routine(parameters);
        choose(&routine, &samples, &tenants, "tenant_id", "uuid")
            .into_iter()
            .map(|call| (call.knows, routine.call(&call.values)))
            .collect()
    }

    #[test]
    fn a_function_without_parameters_is_called_once() {
        let call = "select * from \"public\".\"f\"() limit 2000".to_owned();
        assert_eq!(calls(vec![]), [(Knows::Nothing, call)]);
    }

    #[rstest]
    #[case::key(parameter("p_id", "int8", "N"), Knows::Key, "->> 'id')::int8")]
    #[case::of_its_type(parameter("wanted", "int8", "N"), Knows::Key, "->> 'id')::int8")]
    #[case::amount(parameter("max_rows", "int8", "N"), Knows::Nothing, "1000::int8")]
    #[case::key_of_the_table(parameter("order_id", "int8", "N"), Knows::Key, "->> 'id')::int8")]
    #[case::unnamed(parameter("", "int8", "N"), Knows::Key, "->> 'id')::int8")]
    #[case::text(parameter("email", "text", "S"), Knows::Text, "->> 'email')::text")]
    #[case::tenant(parameter("tenant", "uuid", "U"), Knows::Tenant, "'b'::uuid")]
    #[case::any_of_its_type(parameter("x", "uuid", "U"), Knows::Tenant, "'b'::uuid")]
    #[case::bound(parameter("since", "date", "D"), Knows::Nothing, "'-infinity'::date")]
    fn an_argument_is_what_its_parameter_asks_for(
        #[case] parameter: Parameter,
        #[case] knows: Knows,
        #[case] expected: &str,
    ) {
        let calls = calls(vec![parameter]);
        assert!(calls.iter().any(|(known, sql)| *known == knows && sql.contains(expected)), "{calls:?}");
    }
}
