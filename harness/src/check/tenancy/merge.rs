//! `tenancy.merge`: whether MERGE does what UPDATE, DELETE and INSERT may not.

use super::probe::ROW;
use super::rights::Rights;
use super::single::singles;
use super::tables::Relation;
use super::tried::{Leak, Reach, Tried};
use super::wording::rows;
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::Class;
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;

/// The first version in which MERGE asks the policies of the right verb.
const MENDED: i32 = 150_004;

/// The first version in which MERGE works on views.
const VIEWS: i32 = 170_000;

/// MERGE reaches no row of another tenant.
pub(in crate::check) struct Merge;

impl Check for Merge {
    fn id(&self) -> &'static str {
        "tenancy.merge"
    }

    fn summary(&self) -> &'static str {
        "MERGE changes, removes and adds no row of another tenant"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, and merges into every table, partition and child \
                     with the tenant's column (from 17 on into views too) what its privileges admit: WHEN MATCHED THEN \
                     UPDATE and DELETE on rows of another tenant, WHEN MATCHED THEN UPDATE that gives its own rows to \
                     the other, WHEN NOT MATCHED THEN INSERT of a row of the other. Nothing is changed. MERGE always reads, so \
                     the policies for SELECT count as well. Each is rolled back.",
            matters: "MERGE goes by the policies of the verbs that it takes, in code of its own: before 15.4 new rows of \
                      an UPDATE were held against the policies for INSERT (CVE-2023-39418), which is then reported as the \
                      server's fault.",
            remedy: "Give each policy the tenant's condition in USING and in WITH CHECK, for every verb. Keep the server at \
                     its latest minor version.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.merge":
            "bad.sql", "bad_insert.sql", "bad_partition.sql", "good.sql", "good_per_verb.sql", "good_wide_insert.sql",
            "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "merge into orders t using (values ('B')) s (tenant) on t.tenant_id = s.tenant when matched then delete",
            gets: "rid of B's orders",
            because: "a policy for support staff says `using (true)` to everybody, and permissive policies are joined with OR",
            fix: "drop policy support on orders",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.merge", Merging))
    }
}

struct Merging;

/// One way of merging.
struct Cell {
    sql: String,
    /// What does the same without MERGE.
    plain: String,
    does: &'static str,
    done: &'static str,
}

impl Assault for Merging {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        let takes_merge = relation.is_store() || (relation.kind == "view" && writing.version >= VIEWS);
        let tenant = writing.attack.tenancy.column.clone();
        let rights = writing.rights.of(relation, &actor.role);
        if !takes_merge || !rights.reads.contains(&tenant) {
            return Ok(None);
        }
        let (own, other) = writing.tenants();
        let (table, column) = (relation.name.sql(), &relation.column);
        let on = |whose: &str, then: &str| {
            format!(
                "merge into {table} t using (values (1)) s (one) on t.{column} = {whose} when matched then {then}"
            )
        };
        let mut cells = Vec::new();
        if let Some(any) = rights.any(&tenant).map(|name| quote_ident(&name)) {
            cells.push(Cell {
                sql: on(&other, &format!("update set {any} = t.{any}")),
                plain: format!("update {table} set {any} = {any} where {column} = {other}"),
                does: "changes rows of another tenant",
                done: "updated",
            });
        }
        if rights.updates.contains(&tenant) {
            cells.push(Cell {
                sql: on(&own, &format!("update set {column} = {other}")),
                plain: format!("update {table} set {column} = {other} where {column} = {own}"),
                does: "moves its rows to another tenant",
                done: "updated",
            });
        }
        if rights.deletes {
            cells.push(Cell {
                sql: on(&other, "delete"),
                plain: format!("delete from {table} where {column} = {other}"),
                does: "removes rows of another tenant",
                done: "deleted",
            });
        }
        let may_insert = relation.writers.contains_key(&actor.role);
        if cells.is_empty() && !may_insert {
            return Ok(None);
        }
        if let Some(reason) = writing.attack.lacks(relation) {
            return Ok(Some(Tried::Unknown(reason)));
        }
        for cell in &cells {
            if let Reach::Rows(changed) = writing.probe(&mut actor.own, &cell.sql, None).await? {
                let changed = i64::try_from(changed).unwrap_or(i64::MAX);
                let result = (cell.sql.clone(), format!("{} {}", rows(changed), cell.done));
                let does = format!("{} by MERGE, in `{}`", cell.does, relation.name);
                let leak = writing.leak(relation, &actor.own, None, result, does);
                let plain = writing.probe(&mut actor.own, &cell.plain, None).await?;
                return Ok(Some(Tried::Leak(blamed(writing.version, leak, plain.is_reached()))));
            }
        }
        if may_insert && let Some(leak) = insert(writing, actor, relation).await? {
            return Ok(Some(Tried::Leak(leak)));
        }
        control(writing, actor, relation, &rights).await.map(Some)
    }
}

/// A leak by MERGE: the server's, where the plain statement is refused and the version is known for it.
fn blamed(version: i32, leak: Leak, is_plain_too: bool) -> Leak {
    if is_plain_too || version >= MENDED {
        return leak;
    }
    let help = "update the server: CVE-2023-39418 is mended in 15.4".into();
    Leak { class: Class::ServerBug, help, ..leak }
}

/// Inserts a row of the other tenant.
async fn insert(writing: &mut Writing, actor: &mut Actor, relation: &Relation) -> Result<Option<Leak>> {
    let Some(columns) = relation.writers.get(&actor.role) else { return Ok(None) };
    let other = writing.attack.tenants.other.clone();
    let Ok(plan) = writing.plan(relation, Some(columns), &other).await? else { return Ok(None) };
    if !plan.is_as_wished || plan.columns.is_empty() {
        return Ok(None);
    }
    let Some(row) = writing.evaluate(&plan.json).await? else { return Ok(None) };
    let named: Vec<String> = plan.columns.iter().map(|name| quote_ident(name)).collect();
    let new: Vec<String> = named.iter().map(|name| format!("new.{name}")).collect();
    let (table, travelling) =
        (relation.name.sql(), format!("current_setting({})::jsonb", quote_literal(ROW)));
    let sql = format!(
        "merge into {table} t using jsonb_populate_record(null::{table}, {travelling}) new on false \
         when not matched then insert ({}) values ({})",
        named.join(", "),
        new.join(", ")
    );
    let Reach::Rows(_) = writing.probe(&mut actor.own, &sql, Some(&row)).await? else { return Ok(None) };
    let plain = writing.probe(&mut actor.own, &plan.insert(&relation.name, &travelling), Some(&row)).await?;
    let does = format!("adds rows of another tenant by MERGE, in `{}`", relation.name);
    let set_up = Some((plan.json.as_str(), &plan.reads));
    let leak = writing.leak(relation, &actor.own, set_up, (sql, "1 row inserted".into()), does);
    Ok(Some(blamed(writing.version, leak, plain.is_reached())))
}

/// Whether the tenant's own rows can be merged with; who may only insert has `tenancy.cross-insert`'s control.
async fn control(
    writing: &mut Writing,
    actor: &mut Actor,
    relation: &Relation,
    rights: &Rights,
) -> Result<Tried> {
    let (own, _) = writing.tenants();
    let (then, verb) = match rights.any(&writing.attack.tenancy.column) {
        Some(any) => {
            let any = quote_ident(&any);
            (format!("update set {any} = t.{any}"), "update")
        }
        None if rights.deletes => ("delete".to_owned(), "delete"),
        None => return Ok(Tried::Refused),
    };
    let merge = |one: &str| {
        format!(
            "merge into {} t using (values (1)) s (one) on t.{} = {own}{one} when matched then {then}",
            relation.name.sql(),
            relation.column
        )
    };
    let mut sql = merge("");
    let mut reach = writing.control(&mut actor.own, &sql, None).await?;
    for one in singles(relation, &own) {
        if !reach.is_about_a_row() || reach.is_reached() {
            break;
        }
        sql = merge(&format!(" and {one}"));
        reach = writing.control(&mut actor.own, &sql, None).await?;
    }
    if reach.is_reached() {
        return Ok(Tried::Refused);
    }
    Ok(writing.unproven(relation, &actor.own, verb, sql, reach))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use rstest::rstest;

    #[rstest]
    #[case::known_fault(150_003, false, Class::ServerBug)]
    #[case::mended(150_004, false, Class::Mistake)]
    #[case::plain_too(150_003, true, Class::Mistake)]
    fn a_leak_is_the_servers_where_its_version_explains_it(
        #[case] version: i32,
        #[case] is_plain_too: bool,
        #[case] expected: Class,
    ) {
        let leak = Leak {
            class: Class::Mistake,
            severity: Severity::Error,
            does: String::new(),
            help: String::new(),
            evidence: Vec::new(),
        };
        assert_eq!(blamed(version, leak, is_plain_too).class, expected);
    }
}
