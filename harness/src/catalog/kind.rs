//! The kinds of object that a catalog holds, in the server's words.

use std::fmt;

macro_rules! kinds {
    ($($variant:ident = $name:literal, $meaning:literal;)*) => {
        /// What an object of the catalog is. The order is that of reports and snapshots.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $(#[doc = $meaning] $variant,)*
        }

        impl Kind {
            /// All kinds, in their order.
            pub const ALL: &[Kind] = &[$(Kind::$variant),*];

            /// Its name in the server's words, lower-case: `materialized view`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Kind::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    Setting = "setting", "What `ALTER DATABASE … SET` or `ALTER ROLE … IN DATABASE … SET` sets.";
    Role = "role", "A role that owns something in the database, was granted something, or is what such a role is a member of.";
    Schema = "schema", "A schema.";
    Extension = "extension", "An extension; its members are left out.";
    Type = "type", "An enum, a composite type, a range, or a base type; a shell that waits for its definition.";
    Domain = "domain", "A domain; its constraints are objects of their own.";
    Collation = "collation", "A collation.";
    Table = "table", "A table, a partitioned one or a partition.";
    ForeignTable = "foreign table", "A foreign table.";
    View = "view", "A view.";
    MaterializedView = "materialized view", "A materialized view.";
    Column = "column", "A column of a table; of a view, where something was said about it.";
    Constraint = "constraint", "A constraint of a table or a domain, with the index behind it; never NOT NULL.";
    Index = "index", "An index that backs no constraint.";
    Sequence = "sequence", "A sequence, also one that belongs to a column.";
    Statistics = "statistics", "Extended statistics.";
    Function = "function", "A function, named with its argument types.";
    Procedure = "procedure", "A procedure, named with its argument types.";
    Aggregate = "aggregate", "An aggregate, named with its argument types.";
    Trigger = "trigger", "A trigger of a table or view.";
    EventTrigger = "event trigger", "An event trigger.";
    Rule = "rule", "A rule, other than the one that makes a view.";
    Policy = "policy", "A policy of row-level security.";
    Cast = "cast", "A cast.";
    Transform = "transform", "A transform, named with its type and language.";
    Operator = "operator", "An operator, named with its operand types.";
    OperatorClass = "operator class", "An operator class, named with its index method.";
    OperatorFamily = "operator family", "An operator family, also one that came with a class.";
    Conversion = "conversion", "An encoding conversion.";
    Language = "language", "A procedural language.";
    AccessMethod = "access method", "An access method.";
    TextSearchParser = "text search parser", "A text search parser.";
    TextSearchTemplate = "text search template", "A text search template.";
    TextSearchDictionary = "text search dictionary", "A text search dictionary.";
    TextSearchConfiguration = "text search configuration", "A text search configuration with its mappings.";
    ForeignDataWrapper = "foreign data wrapper", "A foreign data wrapper.";
    Server = "server", "A foreign server.";
    UserMapping = "user mapping", "A user mapping; the values of its options are left out, since they hold passwords.";
    Publication = "publication", "A publication.";
    Subscription = "subscription", "A subscription; how it connects is left out, since that holds a password.";
    Grant = "grant", "What one grantee may do with one object, where that is not the default.";
    SecurityLabel = "security label", "What a provider says of an object.";
    DefaultPrivilege = "default privilege", "What `ALTER DEFAULT PRIVILEGES` gives to one grantee.";
}

impl Kind {
    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Splits `materialized view a.b` into its kind and the rest; the longest name of a kind wins.
    pub(crate) fn split(text: &str) -> Option<(Kind, &str)> {
        Kind::ALL
            .iter()
            .filter_map(|kind| Some((*kind, text.strip_prefix(kind.name())?.strip_prefix(' ')?)))
            .max_by_key(|(kind, _)| kind.name().len())
    }

    /// Whether columns, indexes, triggers and the like belong to objects of this kind.
    pub(crate) fn is_relation(self) -> bool {
        matches!(self, Kind::Table | Kind::ForeignTable | Kind::View | Kind::MaterializedView)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
