//! Faults of the server that a minor version mends, and what of a schema they bear on.
//!
//! From the project's security page and release notes, each CVE by its own words ("Versions before PostgreSQL 18.7,
//! 17.12, 16.16, 15.20 … are affected"), as they stood in November 2026. Left out is what only clients, backups,
//! replication or a superuser meet, and what any query of anybody may set off whatever the schema is: for those there
//! is nothing to look for in a schema, and the answer is always the newest minor version.

/// What of a schema a fault bears on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    /// Tables with row-level security.
    RowSecurity,
    /// Tables with row-level security that have partitions or children.
    RowSecurityBelow,
    /// Tables with row-level security, and functions in SQL that return sets and may be inlined.
    RowSecurityInFunctions,
    /// Materialized views.
    MaterializedViews,
    /// Functions that run with their owner's rights.
    Definers,
    /// Extended statistics.
    ExtendedStatistics,
    /// An extension.
    Extension(&'static str),
}

/// A fault of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bug {
    pub(super) id: &'static str,
    /// What goes wrong, as the object of "lacks the fix of …".
    pub(super) what: &'static str,
    pub(super) feature: Feature,
    /// The versions that mend it, one for each major version that has it.
    pub(super) mended: &'static [(u32, u32)],
    /// What else there is to do about it.
    pub(super) also: Option<&'static str>,
}

/// Those that are known, the oldest first.
pub(super) const BUGS: &[Bug] = &[
    Bug {
        id: "CVE-2023-2454",
        what: "`create schema` with objects in it gets around the `search_path` of functions with their owner's rights",
        feature: Feature::Definers,
        mended: &[(15, 3)],
        also: None,
    },
    Bug {
        id: "CVE-2023-2455",
        what: "the policies of another role are applied where a function that returns rows was inlined into a plan",
        feature: Feature::RowSecurityInFunctions,
        mended: &[(15, 3)],
        also: None,
    },
    Bug {
        id: "CVE-2023-39418",
        what: "`merge` does not ask the policies for UPDATE and SELECT",
        feature: Feature::RowSecurity,
        mended: &[(15, 4)],
        also: None,
    },
    Bug {
        id: "CVE-2024-0985",
        what: "`refresh materialized view concurrently` runs the owner's code with the rights of who refreshes",
        feature: Feature::MaterializedViews,
        mended: &[(15, 6), (16, 2)],
        also: None,
    },
    Bug {
        id: "CVE-2024-4317",
        what: "`pg_stats_ext` shows everybody the commonest values of columns with extended statistics",
        feature: Feature::ExtendedStatistics,
        mended: &[(15, 7), (16, 3)],
        also: Some(
            "a data directory that is older stays open until `fix-CVE-2024-4317.sql` was run in each database",
        ),
    },
    Bug {
        id: "CVE-2024-10976",
        what: "a plan that is used again by another role keeps the policies of the first one below subqueries",
        feature: Feature::RowSecurity,
        mended: &[(15, 9), (16, 5), (17, 1)],
        also: None,
    },
    Bug {
        id: "CVE-2024-10979",
        what: "functions in PL/Perl set variables of the server's environment, and so run code",
        feature: Feature::Extension("plperl"),
        mended: &[(15, 9), (16, 5), (17, 1)],
        also: None,
    },
    Bug {
        id: "CVE-2025-8713",
        what: "an operator of the reader's own sees samples of rows that the policies of partitions and children hide",
        feature: Feature::RowSecurityBelow,
        mended: &[(15, 14), (16, 10), (17, 6)],
        also: None,
    },
    Bug {
        id: "CVE-2026-2004",
        what: "`intarray` runs code of who queries it",
        feature: Feature::Extension("intarray"),
        mended: &[(15, 16), (16, 12), (17, 8), (18, 2)],
        also: None,
    },
    Bug {
        id: "CVE-2026-2005",
        what: "`pgcrypto` runs code of who gives it a message to decrypt",
        feature: Feature::Extension("pgcrypto"),
        mended: &[(15, 16), (16, 12), (17, 8), (18, 2)],
        also: None,
    },
    Bug {
        id: "CVE-2026-2007",
        what: "`pg_trgm` writes beyond its memory",
        feature: Feature::Extension("pg_trgm"),
        mended: &[(18, 2)],
        also: None,
    },
    Bug {
        id: "CVE-2026-6637",
        what: "`refint` runs code of any user",
        feature: Feature::Extension("refint"),
        mended: &[(15, 18), (16, 14), (17, 10), (18, 4)],
        also: None,
    },
    Bug {
        id: "CVE-2026-14673",
        what: "`amcheck` runs functions of its caller with the rights of an index's owner",
        feature: Feature::Extension("amcheck"),
        mended: &[(15, 19), (16, 15), (18, 6)],
        also: None,
    },
    Bug {
        id: "CVE-2026-120154",
        what: "`insert … on conflict do update`, tried again and again, reads every row whatever the policies say",
        feature: Feature::RowSecurity,
        mended: &[(15, 20), (16, 16), (17, 12), (18, 7)],
        also: None,
    },
];

impl Bug {
    /// The minor version that mends it for a server of `major`, where that has it.
    pub(super) fn mended_in(&self, major: u32) -> Option<u32> {
        self.mended.iter().find(|(of, _)| *of == major).map(|(_, minor)| *minor)
    }

    /// Whether a server of this version has it.
    pub(super) fn is_in(&self, (major, minor): (u32, u32)) -> bool {
        self.mended_in(major).is_some_and(|mended| minor < mended)
    }
}

impl Feature {
    /// What asks for the objects that it is about: their names, in order.
    pub(super) fn query(self) -> String {
        let own = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
        let tables = format!(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relrowsecurity and {own}"
        );
        match self {
            Feature::RowSecurity => format!("{tables} order by 1"),
            Feature::RowSecurityBelow => format!(
                "{tables} and exists (select from pg_inherits i where i.inhparent = c.oid) order by 1"
            ),
            Feature::RowSecurityInFunctions => format!(
                "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace \
                 join pg_language l on l.oid = p.prolang \
                 where l.lanname = 'sql' and p.proretset and p.provolatile <> 'v' and not p.prosecdef \
                 and p.proconfig is null and {own} and exists ({tables}) \
                 and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e') order by 1"
            ),
            Feature::MaterializedViews => format!(
                "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                 where c.relkind = 'm' and {own} order by 1"
            ),
            Feature::Definers => format!(
                "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace \
                 where p.prosecdef and {own} \
                 and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e') order by 1"
            ),
            Feature::ExtendedStatistics => format!(
                "select n.nspname || '.' || s.stxname from pg_statistic_ext s \
                 join pg_namespace n on n.oid = s.stxnamespace where {own} order by 1"
            ),
            Feature::Extension(name) => {
                format!("select extname::text from pg_extension where extname = '{name}'")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::BTreeSet;

    #[rstest]
    #[case((15, 8), true)]
    #[case((15, 9), false)]
    #[case((16, 4), true)]
    #[case((17, 0), true)]
    #[case((17, 1), false)]
    #[case((18, 0), false)]
    fn a_version_is_held_against_its_own_major_one(#[case] version: (u32, u32), #[case] expect: bool) {
        let bug = BUGS.iter().find(|bug| bug.id == "CVE-2024-10976").unwrap();
        assert_eq!(bug.is_in(version), expect);
    }

    #[test]
    fn the_table_is_in_order_and_names_each_once() {
        let ids: BTreeSet<_> = BUGS.iter().map(|bug| bug.id).collect();
        assert_eq!(ids.len(), BUGS.len());
        for bug in BUGS {
            let majors: Vec<u32> = bug.mended.iter().map(|(major, _)| *major).collect();
            assert!(!majors.is_empty() && majors.is_sorted(), "{}", bug.id);
            assert!(
                bug.mended.iter().all(|(major, minor)| (15..=18).contains(major) && *minor > 0),
                "{}",
                bug.id
            );
        }
    }
}
