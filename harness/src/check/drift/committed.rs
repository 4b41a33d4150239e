//! The snapshot that a project commits.

use crate::catalog::{Catalog, Kind, Snapshot, diff, schema_of, unquoted};
use crate::check::migrator::Migrator;
use crate::check::{Context, Project};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::QualifiedName;
use std::fs;
use std::path::{Path, PathBuf};

/// What came of accepting the schema as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The file.
    pub file: PathBuf,
    /// What changed in it, a line each; `None`: it is new, or was only written anew.
    pub changes: Option<Vec<String>>,
}

/// Writes what the migrations bring about to the project's snapshot file.
///
/// # Errors
/// `snapshot.file` names none, it cannot be read or written, or the migrations cannot be applied.
pub async fn accept(context: &Context) -> Result<Accepted> {
    let project = context.project();
    let file = project.snapshot.file.clone().ok_or_else(|| {
        Error::usage("`snapshot.file` names no file")
            .with_help("name one in `pgharness.toml`:\n[snapshot]\nfile = \"schema.snapshot\"")
    })?;
    let run = context.first_run().await?;
    if let Some(failure) = &run.failure {
        return Err(failure.copy());
    }
    let now = committable(project, run.state()?.catalog.clone());
    let before = if file.exists() { Some(committable(project, read(&file)?)) } else { None };
    let changes = before.filter(|before| {
        // A role that came or went is no change by itself, and in the text all the same.
        !diff(before, &now).is_empty() || *before == now
    });
    let changes = changes.map(|before| diff(&before, &now).iter().map(ToString::to_string).collect());
    fs::write(&file, Snapshot::render(&now))
        .attempt(ErrorKind::Environment, || format!("failed to write the snapshot `{}`", file.display()))?;
    Ok(Accepted { file, changes })
}

/// Reads the file.
///
/// # Errors
/// It cannot be read, or is no snapshot.
pub(super) fn read(file: &Path) -> Result<Catalog> {
    let failed = || format!("failed to read the snapshot `{}`", file.display());
    let text = fs::read_to_string(file).attempt(ErrorKind::Usage, failed)?;
    Snapshot::parse(&text).map_err(|error| {
        Error::usage(failed()).with_source(error).with_help("`pgharness drift --accept` writes it anew")
    })
}

/// What of a catalog is committed: all but the partitions of the tables in `[structure.partitions]`, since those
/// move on with the calendar. A default partition stays, and so does the partitioned table.
pub(super) fn committable(project: &Project, catalog: Catalog) -> Catalog {
    let windows = &project.structure.partitions;
    let moving: Vec<String> = catalog
        .of_kind(Kind::Table)
        .filter(|(_, facts)| {
            let is_declared = facts.get("partition of").is_some_and(|parent| windows.contains_key(parent));
            is_declared && facts.get("bounds").is_some_and(|bounds| bounds != "DEFAULT")
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    catalog.without(|kind, name| kind == Kind::Table && moving.iter().any(|partition| partition == name))
}

/// `catalog` without the tables in which `migrator` keeps its history.
pub(super) fn without_history(migrator: &Migrator, catalog: Catalog) -> Catalog {
    catalog.without(|kind, name| {
        let schema = schema_of(kind, name).filter(|_| kind == Kind::Table).unwrap_or_default();
        let table = name.strip_prefix(schema).and_then(|rest| rest.strip_prefix('.'));
        table.is_some_and(|table| migrator.is_history(&QualifiedName::new(unquoted(schema), unquoted(table))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Object;
    use crate::check::{Every, Partitions};

    #[test]
    fn partitions_of_a_declared_window_are_left_out() {
        let partition = |name, parent, bounds| {
            Object::new(Kind::Table, name).with_fact("partition of", parent).with_fact("bounds", bounds)
        };
        let catalog = Catalog::new([
            Object::new(Kind::Table, "a.events"),
            partition("a.events_2026_11", "a.events", "FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')"),
            Object::new(Kind::Index, "a.events_2026_11_at").with_fact("table", "a.events_2026_11"),
            Object::new(Kind::Column, "a.events_2026_11.at"),
            partition("a.events_rest", "a.events", "DEFAULT"),
            partition("a.others_1", "a.others", "FOR VALUES IN (1)"),
        ]);
        let mut project = Project::default();
        let window = Partitions { every: Every::Month, ahead: 1, behind: 0, procedure: None };
        project.structure.partitions.insert("a.events".into(), window);
        let left: Vec<String> = committable(&project, catalog)
            .objects()
            .map(|(kind, name, _)| format!("{kind} {name}"))
            .collect();
        assert_eq!(left, ["table a.events", "table a.events_rest", "table a.others_1"]);
    }
}
