//! `structure.identifier-length`: names that the server cut off.

use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// No name of a migration is longer than the server keeps.
pub(in crate::check) struct IdentifierLength;

const ID: &str = "structure.identifier-length";

/// How long a name may be, in bytes.
const NAME_MAX: usize = 63;

/// How much less than that a cut name can be: a character of four bytes is cut as a whole.
const CUT_MAX: usize = 3;

impl Check for IdentifierLength {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "no name is longer than the 63 bytes that the server keeps"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No name in the database, of 60 to 63 bytes, is the beginning of a longer one in a file of the \
                     migrations: the server cuts names at 63 bytes and says so in a notice that nobody reads. Names that \
                     code puts together in a migration are not seen.",
            matters: "What was written is not what is there: a later migration that names it in full works by luck, a tool \
                      that compares names does not. Two long names with the same beginning are one: the second fails, or \
                      with IF NOT EXISTS is left out without a word.",
            remedy: "Choose a shorter name; `alter … rename to` is cheap. For constraints and indexes, name them yourself.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`app_migrator`, with two indexes whose names differ at the end",
            runs: "create index if not exists …_by_customer_number_and_created_at; create index if not exists …_created_by",
            gets: "one index, and no error",
            because: "both names are cut at 63 bytes, and are the same then",
            fix: "drop index invoices_of_the_previous_fiscal_year_by_customer_number_and_cre; \
                  create index invoices_last_year_by_at on invoices (customer, created_at); \
                  create index invoices_last_year_by_creator on invoices (customer, creator)",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::IDENTIFIER_LENGTH
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const NAMES: &str = "
    select kind, name from (
        select case c.relkind when 'i' then 'index' when 'I' then 'index' when 'v' then 'view' when 'S' then 'sequence'
                when 'm' then 'materialized view' else 'table' end as kind, c.relname::text as name, c.oid
            from pg_catalog.pg_class c where c.relkind <> 't'
        union all select 'column', a.attname::text, a.attrelid from pg_catalog.pg_attribute a where a.attnum > 0 and not a.attisdropped
        union all select 'constraint', k.conname::text, k.oid from pg_catalog.pg_constraint k
        union all select 'trigger', t.tgname::text, t.oid from pg_catalog.pg_trigger t where not t.tgisinternal
        union all select 'function', p.proname::text, p.oid from pg_catalog.pg_proc p
        union all select 'type', t.typname::text, t.oid from pg_catalog.pg_type t where t.typrelid = 0 and t.typelem = 0
        union all select 'schema', n.nspname::text, n.oid from pg_catalog.pg_namespace n
    ) as names (kind, name, oid)
    where oid >= 16384 and octet_length(name) >= $1
    group by kind, name order by name collate \"C\", kind";

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let shortest = i32::try_from(NAME_MAX - CUT_MAX).unwrap_or(i32::MAX);
    let names: Vec<(String, String)> = sqlx::query_as(NAMES)
        .bind(shortest)
        .fetch_all(&mut control)
        .await
        .attempt(ErrorKind::Database, || "failed to list long names".into())?;
    if names.is_empty() {
        return Ok(Verdict::of(Vec::new()));
    }
    let mut wanted: BTreeMap<(String, String), BTreeSet<(String, String)>> = BTreeMap::new();
    let dir = &context.project().migrations.dir;
    for file in files_below(dir)? {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let shown = file.strip_prefix(dir).unwrap_or(&file).display().to_string();
        for (kind, name) in &names {
            for long in longer(&text, name) {
                wanted.entry((name.clone(), kind.clone())).or_default().insert((long, shown.clone()));
            }
        }
    }
    let mut findings = Vec::new();
    for ((name, kind), places) in wanted {
        findings.push(finding(&mut control, db.server().endpoint().role(), &kind, &name, &places).await?);
    }
    Ok(Verdict::of(findings))
}

/// The names in `text` that begin with `name` and are too long.
fn longer(text: &str, name: &str) -> BTreeSet<String> {
    let (lower, beginning) = (text.to_lowercase(), name.to_lowercase());
    let mut found = BTreeSet::new();
    for (at, _) in lower.match_indices(&beginning) {
        let belongs = |c: &char| c.is_alphanumeric() || *c == '_' || *c == '$';
        if lower[..at].chars().next_back().is_some_and(|before| belongs(&before)) {
            continue;
        }
        let rest: String = lower[at + beginning.len()..].chars().take_while(belongs).collect();
        if !rest.is_empty() && beginning.len() + rest.len() > NAME_MAX {
            found.insert(format!("{beginning}{rest}"));
        }
    }
    found
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("failed to read `{}`", dir.display());
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .attempt(ErrorKind::Usage, failed)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()
        .attempt(ErrorKind::Usage, failed)?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

async fn finding(
    control: &mut PgConnection,
    admin: &str,
    kind: &str,
    name: &str,
    places: &BTreeSet<(String, String)>,
) -> Result<Finding> {
    let longs: BTreeSet<&str> = places.iter().map(|(long, _)| long.as_str()).collect();
    let mut evidence = Vec::new();
    for (long, file) in places {
        let kept: String =
            sqlx::query_scalar("select ($1::text)::name::text").bind(long).fetch_one(&mut *control).await?;
        evidence.push(Evidence::step(file.clone(), format!("names {long}")));
        evidence.push(Evidence::as_role(admin, format!("select '{long}'::name"), kept));
    }
    let several = longs.len() > 1;
    Ok(Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new(kind, name),
        message: if several {
            format!("{} names of migrations are one to the server: it cuts them to `{name}`", longs.len())
        } else {
            format!(
                "the server cut a name of {} bytes to `{name}`",
                longs.first().map_or(0, |long| long.len())
            )
        },
        help: if several {
            "give each a name of its own within 63 bytes, and look whether one of them was left out".into()
        } else {
            "choose a name of at most 63 bytes".into()
        },
        evidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const NAME: &str = "a2345678901234567890123456789012345678901234567890123456789012_";

    #[rstest]
    #[case::as_it_is("create index {} on t (a)", &[])]
    #[case::longer("create index {}by_day on t (a)", &["by_day"])]
    #[case::quoted("create index \"{}By\" on t (a)", &["by"])]
    #[case::two("{}a {}b {}a", &["a", "b"])]
    #[case::within_another("x{}by_day", &[])]
    fn longer_names_are_found(#[case] text: &str, #[case] rests: &[&str]) {
        assert_eq!(NAME.len(), NAME_MAX);
        let found = longer(&text.replace("{}", NAME), NAME);
        let expected: BTreeSet<String> = rests.iter().map(|rest| format!("{NAME}{rest}")).collect();
        assert_eq!(found, expected);
    }
}
