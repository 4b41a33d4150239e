//! What sites are found in: the catalog and the files of a project.

use super::folder::{Files, Folder};
use super::site::Site;
use super::sql::{parent, plain, sql};
use pgharness::catalog::{Catalog, Facts, Kind};
use pgharness::check::{Project, Tenancy, matches};
use pgharness::ident::{QualifiedName, quote_ident};
use pgharness::migration::Runner;

/// What sites are found in: the catalog and the files of a project.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) project: Project,
    /// What the migrations bring about, without what a project says is no part of it: the history, partitions that
    /// move with the calendar, schemas of tenants.
    pub(super) catalog: Catalog,
    pub(super) files: Files,
    /// The table of the history.
    pub(super) history: Option<QualifiedName>,
}

impl Ground {
    pub(super) fn new(project: Project, catalog: Catalog, files: Files) -> Ground {
        let runner = Runner::new(&files.migrations);
        let runner = match &project.migrations.history {
            Some(table) => runner.with_history(table),
            None => runner,
        };
        let history: Vec<QualifiedName> = catalog
            .of_kind(Kind::Table)
            .map(|(name, _)| QualifiedName::parse(name))
            .filter(|table| runner.keeps_history_in(table))
            .collect();
        let windows = &project.structure.partitions;
        let moving: Vec<String> = catalog
            .of_kind(Kind::Table)
            .filter(|(_, facts)| {
                facts.get("partition of").is_some_and(|parent| windows.contains_key(parent))
                    && facts.get("bounds").is_some_and(|bounds| bounds != "DEFAULT")
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        let tenants = project.tenancy.as_ref().and_then(|tenancy| tenancy.schemas.clone());
        let catalog = catalog.without(|kind, name| {
            let schema = name.split('.').next().unwrap_or(name);
            tenants.as_ref().is_some_and(|pattern| matches(pattern, schema))
                || kind == Kind::Table
                    && (moving.iter().any(|partition| partition == name)
                        || history.contains(&QualifiedName::parse(name)))
        });
        Ground { project, catalog, files, history: history.into_iter().next() }
    }

    /// Tables that are no partitions: what is done to those is done to their parents.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &Facts)> {
        self.catalog.of_kind(Kind::Table).filter(|(_, facts)| !facts.contains_key("partition of"))
    }

    /// Those of [`tables`](Ground::tables) that have the tenant's column and row-level security.
    pub(super) fn guarded<'a>(&'a self, tenancy: &'a Tenancy) -> impl Iterator<Item = (&'a str, &'a Facts)> {
        self.tables().filter(|(table, facts)| {
            let column = format!("{table}.{}", tenancy.column);
            facts.contains_key("row security") && self.catalog.get(Kind::Column, &column).is_some()
        })
    }

    /// The columns of [`tables`](Ground::tables), each with its table.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &str, &Facts)> {
        self.catalog.of_kind(Kind::Column).filter_map(|(name, facts)| {
            let (table, column) = parent(name);
            let of = self.catalog.get(Kind::Table, table)?;
            (!of.contains_key("partition of")).then_some((table, column, facts))
        })
    }

    /// Objects of a kind that belong to [`tables`](Ground::tables): constraints, triggers, policies.
    pub(super) fn parts(&self, kind: Kind) -> impl Iterator<Item = (&str, &str, &Facts)> {
        self.catalog.of_kind(kind).filter_map(|(name, facts)| {
            let (table, own) = parent(name);
            let of = self.catalog.get(Kind::Table, table)?;
            (!of.contains_key("partition of") && !facts.contains_key("inherited"))
                .then_some((table, own, facts))
        })
    }

    /// Whether a primary key, a unique constraint or a unique index has the column.
    pub(super) fn is_key(&self, table: &str, column: &str) -> bool {
        let of_constraints = self.parts(Kind::Constraint).map(|(of, _, facts)| (of, facts));
        let of_indexes = self.catalog.of_kind(Kind::Index);
        let of_indexes = of_indexes.filter_map(|(_, facts)| Some((facts.get("table")?.as_str(), facts)));
        of_constraints.chain(of_indexes).any(|(of, facts)| {
            let definition = facts.get("definition").map_or("", String::as_str);
            let is_unique =
                ["PRIMARY", "UNIQUE", "CREATE UNIQUE"].iter().any(|form| definition.starts_with(form));
            of == table && is_unique && listed(definition).any(|name| name == column)
        })
    }

    /// The name of the primary key of a table, quoted.
    pub(super) fn primary_key(&self, table: &str) -> Option<String> {
        self.parts(Kind::Constraint).find_map(|(of, name, facts)| {
            let is_primary = facts.get("definition").is_some_and(|text| text.starts_with("PRIMARY"));
            (of == table && is_primary).then(|| sql(name))
        })
    }

    /// Whether a foreign key refers to the table.
    pub(super) fn is_referred_to(&self, table: &str) -> bool {
        let to = format!(" REFERENCES {table}(");
        self.parts(Kind::Constraint)
            .any(|(_, _, facts)| facts.get("definition").is_some_and(|text| text.contains(&to)))
    }

    /// The type of a column.
    pub(super) fn type_of(&self, table: &str, column: &str) -> Option<&str> {
        let facts = self.catalog.get(Kind::Column, &format!("{table}.{}", plain(column)))?;
        facts.get("type").map(String::as_str)
    }

    /// The tables that a statement of a file creates, each with the number of the file, its first text column and its
    /// first nullable one that no key has.
    pub(super) fn made(&self) -> Vec<Made<'_>> {
        let mut made = Vec::new();
        for (number, migration) in self.files.numbered() {
            for statement in migration.script.statements() {
                let Some((name, facts)) = self.tables().find(|(name, _)| creates(statement.text, name))
                else {
                    continue;
                };
                let column = |is_wanted: &dyn Fn(&Facts) -> bool| {
                    let has = |column: &str| {
                        statement.text.lines().any(|line| {
                            line.trim_start().strip_prefix(column).is_some_and(|rest| rest.starts_with(' '))
                        })
                    };
                    let mut columns = self.columns().filter(|(table, column, facts)| {
                        *table == name && has(column) && is_wanted(facts) && !self.is_key(table, column)
                    });
                    columns.next().map(|(_, column, _)| column)
                };
                made.push(Made {
                    table: name,
                    number,
                    role: self.role(facts),
                    is_partitioned: facts.contains_key("partition key"),
                    text: column(&|facts| facts.get("type").is_some_and(|kind| kind == "text")),
                    nullable: column(&|facts| {
                        facts.get("nullable").is_some_and(|nullable| nullable == "yes")
                    }),
                });
            }
        }
        made
    }

    /// All migrations, and one more in which the owner of an object makes a change.
    pub(super) fn followed_by_owner(&self, facts: &Facts, change: &str) -> Option<Folder> {
        self.files.followed_by(self.files.migrations.len(), &format!("{}{change};", self.role(facts)))
    }

    /// The same of the owner of a table.
    pub(super) fn changed(&self, table: &str, target: &str, change: &str) -> Option<Site> {
        let facts = self.catalog.get(Kind::Table, table)?;
        Some(Site::files(target, self.followed_by_owner(facts, change)?))
    }

    /// What the migrator says first to be the owner of an object.
    pub(super) fn role(&self, facts: &Facts) -> String {
        match (&self.project.migrations.migrator_role, facts.get("owner")) {
            (Some(migrator), Some(owner)) if migrator != owner => {
                format!("set local role {};\n", quote_ident(owner))
            }
            _ => String::new(),
        }
    }
}

/// A table that a statement of a file creates.
#[derive(Debug)]
pub(super) struct Made<'a> {
    pub(super) table: &'a str,
    /// The number of the file.
    pub(super) number: usize,
    /// What to say first to be its owner.
    pub(super) role: String,
    pub(super) is_partitioned: bool,
    pub(super) text: Option<&'a str>,
    pub(super) nullable: Option<&'a str>,
}

/// The names in the first parentheses of a key.
pub(super) fn listed(definition: &str) -> impl Iterator<Item = &str> {
    let inner = definition.split_once('(').map_or("", |(_, rest)| rest.split(')').next().unwrap_or_default());
    inner.split(", ")
}

/// Whether a statement creates the table `name`; one without a schema may be any schema's.
pub(super) fn creates(statement: &str, name: &str) -> bool {
    let mut words = statement.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
    let mut is = |word: &str| words.next().is_some_and(|found| found.eq_ignore_ascii_case(word));
    if !(is("create") && is("table")) {
        return false;
    }
    let named =
        words.find(|word| !["if", "not", "exists"].iter().any(|other| word.eq_ignore_ascii_case(other)));
    named.is_some_and(|named| {
        let named = named.to_ascii_lowercase();
        named == name || parent(name).1 == named
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_that_creates_a_table_is_known() {
        assert!(creates("create table crm.people (id int)", "crm.people"));
        assert!(creates("CREATE TABLE IF NOT EXISTS people(\n id int)", "public.people"));
        assert!(!creates("create table crm.people_of_old ()", "crm.people"));
        assert!(!creates("alter table crm.people add x int", "crm.people"));
        assert_eq!(listed("UNIQUE (a, b) INCLUDE (c)").collect::<Vec<_>>(), ["a", "b"]);
    }
}
