//! SQL that reads and writes the rows of the tables that it names, and does nothing else.

use super::lexer::{Kind, Lexer};

/// What a statement may begin with.
const STARTS: &[&str] = &[
    "abort",
    "begin",
    "commit",
    "delete",
    "end",
    "insert",
    "lock",
    "release",
    "rollback",
    "savepoint",
    "select",
    "set",
    "start",
    "table",
    "update",
    "values",
    "with",
];

/// Words before a parenthesis that call nothing.
const BEFORE_OPEN: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "by",
    "case",
    "conflict",
    "distinct",
    "else",
    "except",
    "exists",
    "from",
    "having",
    "in",
    "intersect",
    "join",
    "limit",
    "not",
    "offset",
    "on",
    "or",
    "returning",
    "select",
    "set",
    "some",
    "then",
    "union",
    "using",
    "values",
    "when",
    "where",
];

/// Functions whose result is that of their arguments alone.
pub(crate) const FUNCTIONS: &[&str] = &[
    "abs", "avg", "coalesce", "count", "greatest", "least", "length", "lower", "max", "min", "nullif", "sum",
    "upper",
];

/// Types whose values, even written as text, never depend on the time or on a catalog, as casts name them.
const TYPES: &[&str] = &[
    "bigint", "bool", "boolean", "bytea", "float4", "float8", "int", "int2", "int4", "int8", "integer",
    "json", "jsonb", "numeric", "real", "smallint", "text", "uuid", "varchar",
];

/// Words before a string that are not its type.
const BEFORE_STRING: &[&str] = &[
    "and",
    "between",
    "by",
    "case",
    "distinct",
    "else",
    "ilike",
    "like",
    "not",
    "or",
    "returning",
    "select",
    "then",
    "to",
    "when",
    "where",
];

/// Words that ask for the time, for who asks, or for how a row is stored, and those that bring in what was done elsewhere.
const DENIED: &[&str] = &[
    "chain",
    "cmax",
    "cmin",
    "ctid",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "information_schema",
    "localtime",
    "localtimestamp",
    "operator",
    "prepared",
    "session_user",
    "snapshot",
    "system_user",
    "tableoid",
    "tablesample",
    "user",
    "xmax",
    "xmin",
];

/// Whether `sql` does what its words say and nothing else: it calls no function but those of [`FUNCTIONS`], reads no
/// catalog, and asks neither for the time nor for transactions. What it does not know it does not take for plain. It says
/// nothing of what tables do by themselves: triggers, defaults, policies.
pub(crate) fn is_plain(sql: &str) -> bool {
    let tokens: Vec<(Kind, String)> = Lexer::new(sql)
        .filter(|token| token.kind != Kind::Skipped)
        .map(|token| (token.kind, sql[token.start..token.end].to_lowercase()))
        .collect();
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |(_, text)| text.as_str());
    tokens.iter().enumerate().all(|(at, (kind, word))| {
        let before = |steps: usize| text(at.checked_sub(steps));
        let is_first = at == 0 || before(1) == ";";
        let is_open_next = text(Some(at + 1)) == "(";
        // `into t`, `into s.t`: a parenthesis behind it has columns.
        let is_target = before(1) == "into" || (before(1) == "." && before(3) == "into");
        let is_type = before(1) == ":";
        match kind {
            _ if is_first && !matches!(kind, Kind::Semicolon) => {
                STARTS.contains(&word.as_str()) && (!is_open_next || BEFORE_OPEN.contains(&word.as_str()))
            }
            Kind::Word => {
                let calls = !BEFORE_OPEN.contains(&word.as_str())
                    && !is_target
                    && (!FUNCTIONS.contains(&word.as_str()) || before(1) == ".");
                is_harmless(word)
                    && !(is_open_next && calls)
                    && (!is_type || TYPES.contains(&word.as_str()))
                    // `select … into t` creates a table.
                    && (word != "into" || before(1) == "insert")
            }
            Kind::Quoted if word.starts_with('"') => {
                is_harmless(word.trim_matches('"')) && (!is_open_next || is_target) && !is_type
            }
            Kind::Quoted => {
                let is_behind_word = at > 0 && tokens[at - 1].0 == Kind::Word;
                !is_behind_word || BEFORE_STRING.contains(&before(1))
            }
            Kind::Other => {
                word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains('…')
                    || word.chars().all(|c| "=<>!+-*/%,.:$[]|".contains(c))
            }
            Kind::Skipped | Kind::Semicolon | Kind::Open | Kind::Close => true,
        }
    })
}

/// Whether a name is none of a catalog or of what a row has beside its columns. The end of a text that was cut is no name.
fn is_harmless(name: &str) -> bool {
    !name.starts_with("pg_") && !name.contains('…') && !DENIED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("")]
    #[case("BEGIN")]
    #[case("begin isolation level serializable")]
    #[case("begin; lock table outbox in share row exclusive mode")]
    #[case("set local app.tenant_id = '7'")]
    #[case("select balance from account where id = $1 for update")]
    #[case("select \"balance\", count(*) from \"account\" as a group by 1 order by a.id limit 1")]
    #[case(
        "insert into public.account (id, name) values ($1, 'x''(y)'), (2, $2) on conflict (id) do nothing returning id"
    )]
    #[case("update t set n = n + 1, s = s || 'now()' where id in (select id from u) -- now()")]
    #[case("with gone as (delete from t returning *) select coalesce(max(n), 0)::int8 from gone")]
    #[case("insert into outbox default values")]
    #[case("update t set n = (n + 1) * 2 where exists (select 1 from u)")]
    #[case("COMMIT;")]
    fn plain(#[case] sql: &str) {
        assert!(is_plain(sql), "{sql}");
    }

    #[rstest]
    #[case::advisory_lock("select pg_try_advisory_xact_lock(1)")]
    #[case::function_of_the_user("select next_number()")]
    #[case::space_before_arguments("select f /* x */ (1) from t")]
    #[case::quoted_function("select \"txid_current\"()")]
    #[case::escaped_function("select U&\"\\0074xid_current\"()")]
    #[case::in_a_schema("select public.count(t) from t")]
    #[case::time("select current_timestamp")]
    #[case::time_as_text("select 'now'::timestamptz")]
    #[case::time_by_its_type("select timestamptz 'now'")]
    #[case::time_by_a_cast("select cast('now' as timestamptz)")]
    #[case::quoted_type("select 'now'::\"timestamptz\"")]
    #[case::transaction("select xmin from t")]
    #[case::quoted_system_column("select \"xmin\" from t")]
    #[case::catalog("select count(*) from pg_stat_activity")]
    #[case::quoted_catalog("select count(*) from \"pg_locks\"")]
    #[case::information("select count(*) from information_schema.tables")]
    #[case::name_of_a_table("select 't'::regclass")]
    #[case::notification("notify jobs")]
    #[case::listening("listen jobs")]
    #[case::temporary("create temp table x (n int)")]
    #[case::new_table("select * into u from t")]
    #[case::snapshot("set transaction snapshot '00000003-0000001B-1'")]
    #[case::prepared("commit prepared 'x'")]
    #[case::preparing("prepare p as select 1")]
    #[case::second_statement("select 1; truncate t")]
    #[case::block("do $$ begin perform 1; end $$")]
    #[case::chain("commit and chain")]
    #[case::copy("copy t from stdin")]
    #[case::sample("select * from t tablesample system (10)")]
    #[case::operator("select 1 operator(public.+) 2")]
    #[case::cut("update t set n = 1…")]
    fn not_plain(#[case] sql: &str) {
        assert!(!is_plain(sql), "{sql}");
    }
}
