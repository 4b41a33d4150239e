//! An object that a statement misses, and the extensions that are known to bring it.

/// An object that is not there, by what the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    kind: Kind,
    /// Without its schema, in lower case.
    name: String,
    /// Of an operator: the types it was asked for.
    operands: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Type,
    Function,
    Operator,
    OperatorClass,
    AccessMethod,
    TextSearch,
    Language,
    ForeignDataWrapper,
    Relation,
    /// That a data type has none by default for the access method of this name.
    DefaultOperatorClass,
}

/// How the server begins to say that something is not there, and what it is. The longer ones go first.
const PREFIXES: &[(&str, Kind)] = &[
    ("operator class \"", Kind::OperatorClass),
    ("operator does not exist: ", Kind::Operator),
    ("access method \"", Kind::AccessMethod),
    ("text search dictionary \"", Kind::TextSearch),
    ("text search template \"", Kind::TextSearch),
    ("text search parser \"", Kind::TextSearch),
    ("text search configuration \"", Kind::TextSearch),
    ("foreign-data wrapper \"", Kind::ForeignDataWrapper),
    ("language \"", Kind::Language),
    ("relation \"", Kind::Relation),
    ("type \"", Kind::Type),
    ("function ", Kind::Function),
    ("procedure ", Kind::Function),
    ("aggregate ", Kind::Function),
];

/// Names that projects use most, by the extension that brings them: for servers whose scripts cannot be read, and
/// for extensions that are not installed.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "uuid-ossp",
        &["uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "uuid_generate_v5", "uuid_nil"],
    ),
    ("pgcrypto", &["crypt", "gen_salt", "digest", "hmac", "gen_random_bytes", "pgp_sym_encrypt", "armor"]),
    ("citext", &["citext"]),
    ("hstore", &["hstore"]),
    ("ltree", &["ltree", "lquery"]),
    ("pg_trgm", &["gin_trgm_ops", "gist_trgm_ops", "similarity", "word_similarity"]),
    ("unaccent", &["unaccent"]),
    (
        "vector",
        &[
            "vector",
            "halfvec",
            "sparsevec",
            "hnsw",
            "ivfflat",
            "vector_l2_ops",
            "vector_cosine_ops",
            "vector_ip_ops",
            "cosine_distance",
            "l2_distance",
        ],
    ),
    ("postgis", &["geometry", "geography", "st_makepoint", "st_dwithin", "st_setsrid", "st_geomfromtext"]),
    ("timescaledb", &["create_hypertable", "time_bucket"]),
    ("intarray", &["gin__int_ops", "gist__int_ops"]),
    ("cube", &["cube"]),
    ("tablefunc", &["crosstab"]),
    ("dblink", &["dblink", "dblink_connect"]),
    ("postgres_fdw", &["postgres_fdw"]),
    ("pg_stat_statements", &["pg_stat_statements", "pg_stat_statements_reset"]),
    ("plpython3u", &["plpython3u"]),
    ("plperl", &["plperl"]),
];

/// The extensions that give scalar types an operator class for an access method that has none for them.
const SCALARS: &[(&str, &str)] = &[("gist", "btree_gist"), ("gin", "btree_gin")];

impl Object {
    /// The object that `message` misses, as the server of any version says it.
    pub(crate) fn missing_in(message: &str) -> Option<Object> {
        if let Some((_, method)) = message.split_once(" has no default operator class for access method \"") {
            let name = method.strip_suffix('"')?.to_owned();
            return Some(Object { kind: Kind::DefaultOperatorClass, name, operands: Vec::new() });
        }
        let (rest, kind) =
            PREFIXES.iter().find_map(|(prefix, kind)| Some((message.strip_prefix(prefix)?, *kind)))?;
        let mut operands = Vec::new();
        let name = match kind {
            Kind::Operator => {
                let mut words: Vec<&str> = rest.split(' ').collect();
                let is_operator = |word: &&str| !word.starts_with(|c: char| c.is_alphanumeric() || c == '"');
                let at = words.iter().position(is_operator)?;
                let name = words.remove(at);
                operands.extend(words.into_iter().map(str::to_owned));
                name
            }
            Kind::Function => rest.strip_suffix(" does not exist")?.split('(').next()?,
            _ => rest.split_once("\" does not exist")?.0,
        };
        let name =
            name.rsplit('.').next().unwrap_or(name).trim_matches('"').trim_end_matches("[]").to_lowercase();
        (!name.is_empty()).then_some(Object { kind, name, operands })
    }

    /// Whether the script of an extension creates it.
    pub(super) fn is_created_by(&self, script: &str) -> bool {
        let text = script.to_lowercase();
        text.match_indices(&self.name).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + self.name.len()..]);
            self.is_whole(before, after) && self.follows_create(before) && self.takes_operands(after)
        })
    }

    /// Whether the name is not a part of a longer one.
    fn is_whole(&self, before: &str, after: &str) -> bool {
        let is_operator = self.kind == Kind::Operator;
        let continues = |c: char| match is_operator {
            true => "+-*/<>=~!@#%^&|`?".contains(c),
            false => c.is_alphanumeric() || c == '_',
        };
        // `@extschema@.` ends in what an operator may contain, but a dot comes between.
        !before.ends_with(continues) && !after.starts_with(continues)
    }

    /// Whether the words before the name are those that create such an object.
    fn follows_create(&self, before: &str) -> bool {
        let before = before.trim_end_matches('"');
        // Its schema, such as `@extschema@`.
        let before = match before.strip_suffix('.') {
            Some(before) => &before[..before.rfind(char::is_whitespace).unwrap_or(0)],
            None => before,
        };
        let words: Vec<&str> = before.split_whitespace().rev().take(6).collect();
        let is_create = |words: &[&str]| {
            matches!(words, ["create", ..] | ["trusted", "create", ..] | ["replace", "or", "create", ..])
        };
        let kinds: &[&[&str]] = match self.kind {
            Kind::Type => &[&["type"], &["domain"]],
            Kind::Function => &[&["function"], &["procedure"], &["aggregate"]],
            Kind::Operator => &[&["operator"]],
            Kind::OperatorClass => &[&["class", "operator"]],
            Kind::AccessMethod => &[&["method", "access"]],
            Kind::TextSearch => &[
                &["dictionary", "search", "text"],
                &["template", "search", "text"],
                &["parser", "search", "text"],
                &["configuration", "search", "text"],
            ],
            Kind::Language => &[&["language"]],
            Kind::ForeignDataWrapper => &[&["wrapper", "data", "foreign"]],
            Kind::Relation => &[&["table"], &["view"]],
            Kind::DefaultOperatorClass => &[],
        };
        kinds.iter().any(|kind| words.strip_prefix(*kind).is_some_and(is_create))
    }

    /// Whether an operator is one for the types that it was asked for, as far as they are known.
    fn takes_operands(&self, after: &str) -> bool {
        let definition: String = after.split(';').next().unwrap_or_default().split_whitespace().collect();
        let sides: &[&str] = match self.operands.len() {
            2 => &["leftarg=", "rightarg="],
            1 => &["rightarg="],
            _ => &[],
        };
        sides.iter().zip(&self.operands).filter(|(_, operand)| *operand != "unknown").all(
            |(side, operand)| {
                definition
                    .split([',', '(', ')'])
                    .any(|part| part.strip_prefix(side) == Some(operand.as_str()))
            },
        )
    }

    /// The extension that is known to bring it.
    pub(crate) fn known_provider(&self) -> Option<&'static str> {
        if self.kind == Kind::DefaultOperatorClass {
            return SCALARS.iter().find(|(method, _)| *method == self.name).map(|(_, extension)| *extension);
        }
        KNOWN.iter().find(|(_, names)| names.contains(&self.name.as_str())).map(|(extension, _)| *extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn object(message: &str) -> Object {
        Object::missing_in(message).unwrap()
    }

    #[rstest]
    #[case("function uuid_generate_v4() does not exist", "uuid-ossp")]
    #[case("function public.gen_random_bytes(integer) does not exist", "pgcrypto")]
    #[case("type \"citext\" does not exist", "citext")]
    #[case("type \"app.citext[]\" does not exist", "citext")]
    #[case("operator class \"gin_trgm_ops\" does not exist for access method \"gin\"", "pg_trgm")]
    #[case("access method \"hnsw\" does not exist", "vector")]
    #[case("type \"geometry\" does not exist", "postgis")]
    #[case("text search dictionary \"unaccent\" does not exist", "unaccent")]
    #[case("language \"plpython3u\" does not exist", "plpython3u")]
    #[case("foreign-data wrapper \"postgres_fdw\" does not exist", "postgres_fdw")]
    #[case("relation \"pg_stat_statements\" does not exist", "pg_stat_statements")]
    #[case("data type integer has no default operator class for access method \"gist\"", "btree_gist")]
    fn what_brings_it_is_known(#[case] message: &str, #[case] extension: &str) {
        assert_eq!(object(message).known_provider(), Some(extension));
    }

    #[rstest]
    #[case("function my_digest_of(text) does not exist")]
    #[case("type \"vectors\" does not exist")]
    #[case("relation \"accounts\" does not exist")]
    #[case("data type point has no default operator class for access method \"hash\"")]
    fn no_extension_is_made_up(#[case] message: &str) {
        assert_eq!(object(message).known_provider(), None);
    }

    #[rstest]
    #[case("role \"vector\" does not exist")]
    #[case("column \"citext\" does not exist")]
    #[case("syntax error at or near \"citext\"")]
    #[case("function citext exists")]
    #[case("operator does not exist: text")]
    fn other_messages_miss_no_object(#[case] message: &str) {
        assert_eq!(Object::missing_in(message), None);
    }

    const SCRIPT: &str = "
        CREATE TYPE @extschema@.gauge (INPUT = gauge_in);
        CREATE OR REPLACE FUNCTION gauge_of(text) RETURNS gauge AS 'MODULE_PATHNAME';
        DROP FUNCTION old_gauge(text);
        COMMENT ON TYPE gone IS 'x';
        CREATE OPERATOR % (LEFTARG = text, RIGHTARG = gauge, FUNCTION = near);
        CREATE OPERATOR <%> (
            LEFTARG = text,
            RIGHTARG = text
        );
        CREATE OPERATOR CLASS gist_gauge_ops FOR TYPE gauge USING gist AS STORAGE gauge;
        CREATE ACCESS METHOD wheel TYPE INDEX HANDLER wheelhandler;
        CREATE TEXT SEARCH DICTIONARY rose (TEMPLATE = rose);
        CREATE TRUSTED LANGUAGE plrose;
        CREATE FOREIGN DATA WRAPPER rose_fdw;
        CREATE VIEW gauges AS SELECT 1;";

    #[rstest]
    #[case("type \"gauge\" does not exist", true)]
    #[case("type \"gauge_of\" does not exist", false)]
    #[case("type \"gone\" does not exist", false)]
    #[case("type \"gaug\" does not exist", false)]
    #[case("function gauge_of(integer) does not exist", true)]
    #[case("function old_gauge(integer) does not exist", false)]
    #[case("function gauge_in(integer) does not exist", false)]
    #[case("operator does not exist: text % gauge", true)]
    #[case("operator does not exist: text % unknown", true)]
    #[case("operator does not exist: integer % gauge", false)]
    #[case("operator does not exist: text <%> text", true)]
    #[case("operator does not exist: text <% text", false)]
    #[case("operator class \"gist_gauge_ops\" does not exist for access method \"gist\"", true)]
    #[case("access method \"wheel\" does not exist", true)]
    #[case("text search dictionary \"rose\" does not exist", true)]
    #[case("language \"plrose\" does not exist", true)]
    #[case("foreign-data wrapper \"rose_fdw\" does not exist", true)]
    #[case("relation \"gauges\" does not exist", true)]
    #[case("relation \"gauge\" does not exist", false)]
    fn a_script_creates_what_it_says(#[case] message: &str, #[case] expect: bool) {
        assert_eq!(object(message).is_created_by(SCRIPT), expect);
    }
}
