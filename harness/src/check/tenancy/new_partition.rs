//! `tenancy.new-partition`: whether a partition that is made later is as closed as those that are there.

use super::attack::Attack;
use super::direct;
use super::probe::Session;
use super::roles::{self, subject};
use super::tables::{self, Relation};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::fixture::rows::Step;
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};
use std::collections::BTreeSet;

/// A partition that is made later is no way past its parent's policies.
pub(in crate::check) struct NewPartition;

impl Check for NewPartition {
    fn id(&self) -> &'static str {
        "tenancy.new-partition"
    }

    fn summary(&self) -> &'static str {
        "a partition that is made later is as closed as those that are there"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The newest partitions of each declared table are dropped, and its procedure \
                     (`structure.partitions.….procedure`), run as the owner, makes them again; a table without a declared \
                     procedure gets one made by its owner by hand. What came to be is attacked as `tenancy.partition-child` \
                     attacks the others, and has row-level security enabled if its siblings have. Partitions by hash are \
                     left alone: their number is fixed.",
            matters: "Partitions are made by a job every month, long after the schema was looked at. A new table has no \
                      row-level security, whatever its parent has, and default privileges may open it at once.",
            remedy: "Let the procedure enable and force row-level security on each partition that it makes, with the policy of \
                     its parent, before it attaches it; take tables of tenants out of `alter default privileges`.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, a month from now, and sets tenant A for its transaction",
            runs: "select what from events_2031",
            gets: "what happened at A, and what happened at B",
            because: "the job that makes partitions enables nothing, and a default privilege opens every new table",
            fix: "alter default privileges revoke select on tables from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::NEW_PARTITION
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// How many partitions are dropped, so that the procedure has some to make.
const DROPPED: i64 = 2;

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.new-partition").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let parents: Vec<Relation> = attack
        .relations
        .iter()
        .filter(|relation| relation.kind == "partitioned table" && relation.ancestors.is_empty())
        .cloned()
        .collect();
    if parents.is_empty() {
        return Ok(Verdict::skipped("no table of tenants has partitions"));
    }
    let mut ran = 0;
    for parent in parents {
        let declared = context.project().structure.partitions.get(&parent.name.to_string());
        let procedure = declared.and_then(|declared| declared.procedure.as_deref());
        let before = children(&mut attack, &parent).await?;
        let made = match procedure {
            Some(procedure) => by_procedure(&mut attack, &parent, procedure).await?,
            None => by_hand(&mut attack, &parent).await?,
        };
        let steps = match made {
            Ok(steps) => steps,
            Err(reason) => {
                attack.note_uncovered(&parent, &[], &format!("no new partition could be made ({reason})"));
                continue;
            }
        };
        let after = children(&mut attack, &parent).await?;
        let new: BTreeSet<QualifiedName> =
            after.into_iter().filter(|child| !before.contains(child)).map(|(_, name)| name).collect();
        if steps.is_empty() {
            continue;
        }
        if new.is_empty() {
            attack.note_uncovered(
                &parent,
                &[],
                "the procedure made none of the partitions that were dropped",
            );
            continue;
        }
        let new = enter(&mut attack, new, steps).await?;
        // What somebody might do by hand has not happened yet.
        let severity = if procedure.is_some() { Severity::Error } else { Severity::Warning };
        let known = attack.findings.len();
        ran += direct::attack(&mut attack, &new, severity).await?;
        if procedure.is_some() && attack.findings.len() == known {
            unlike_siblings(&mut attack, &parent, &new);
        }
    }
    attack.count_controls(ran);
    Ok(attack.verdict())
}

type Children = BTreeSet<(i64, QualifiedName)>;

/// All partitions below `parent`, at any depth.
async fn children(attack: &mut Attack, parent: &Relation) -> Result<Children> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "select c.oid::int8, n.nspname::text, c.relname::text
         from pg_partition_tree($1::regclass) t join pg_class c on c.oid = t.relid
         join pg_namespace n on n.oid = c.relnamespace where t.level > 0",
    )
    .bind(parent.name.sql())
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list the partitions of `{}`", parent.name))?;
    Ok(rows.into_iter().map(|(oid, schema, name)| (oid, QualifiedName::new(schema, name))).collect())
}

async fn owner(attack: &mut Attack, parent: &Relation) -> Result<String> {
    sqlx::query_scalar("select pg_get_userbyid(relowner)::text from pg_class where oid = $1::regclass")
        .bind(parent.name.sql())
        .fetch_one(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || format!("failed to read the owner of `{}`", parent.name))
}

/// Drops the newest partitions and runs the procedure, as the owner and else as who may do anything.
async fn by_procedure(
    attack: &mut Attack,
    parent: &Relation,
    procedure: &str,
) -> Result<Result<Vec<String>, String>> {
    let newest: Vec<(String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text from pg_inherits i
         join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
         where i.inhparent = $1::regclass and pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
         order by c.relname collate \"C\" desc limit $2",
    )
    .bind(parent.name.sql())
    .bind(DROPPED)
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list the partitions of `{}`", parent.name))?;
    let mut steps = Vec::new();
    for (schema, name) in newest {
        let sql = format!("drop table {}", QualifiedName::new(schema, name).sql());
        match attempt(attack, &sql).await? {
            Ok(()) => steps.push(sql),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    let owner = owner(attack, parent).await?;
    let as_owner = format!("set role {}", quote_ident(&owner));
    for opening in [Some(as_owner), None] {
        if let Some(opening) = &opening {
            attempt(attack, opening).await?.ok();
        }
        let done = attempt(attack, procedure).await?;
        attempt(attack, "reset role").await?.ok();
        match done {
            Ok(()) => {
                let is_owner = opening.is_some();
                steps.extend(opening);
                steps.push(procedure.to_owned());
                steps.extend(is_owner.then(|| "reset role".to_owned()));
                return Ok(Ok(steps));
            }
            Err(reason) if opening.is_none() => return Ok(Err(reason)),
            Err(_) => {}
        }
    }
    Ok(Err("its procedure was not run".into()))
}

/// Makes one more partition as the owner would; no statement where none can be.
async fn by_hand(attack: &mut Attack, parent: &Relation) -> Result<Result<Vec<String>, String>> {
    let (strategy, category): (String, Option<String>) = sqlx::query_as(
        "select p.partstrat::text,
            (select case when t.typname = 'uuid' then 'uuid' else t.typcategory::text end
                from pg_attribute a join pg_type t on t.oid = a.atttypid
                where a.attrelid = p.partrelid and p.partnatts = 1 and a.attnum = p.partattrs[0] and a.attname <> $2)
         from pg_partitioned_table p where p.partrelid = $1::regclass",
    )
    .bind(parent.name.sql())
    .bind(&attack.tenancy.column)
    .fetch_one(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read what `{}` is partitioned by", parent.name))?;
    let bounds = match (strategy.as_str(), category.as_deref()) {
        ("h", _) => return Ok(Ok(Vec::new())),
        ("r", Some("D")) => vec!["for values from ('9997-01-01') to ('9998-01-01')", "default"],
        ("r", Some("N")) => vec![
            "for values from (30000) to (30001)",
            "for values from (2000000000) to (2000000001)",
            "default",
        ],
        ("l", Some("S")) => vec!["for values in ('pgharness_new')", "default"],
        ("l", Some("N")) => vec!["for values in (30000)", "default"],
        _ => vec!["default"],
    };
    let owner = owner(attack, parent).await?;
    let name = QualifiedName::new(&parent.name.schema, format!("{:.40}_pgharness_new", parent.name.name));
    let mut reason = String::new();
    for bound in bounds {
        let steps = [
            format!("set role {}", quote_ident(&owner)),
            format!("create table {} partition of {} {bound}", name.sql(), parent.name.sql()),
            "reset role".to_owned(),
        ];
        match attempt(attack, &steps.join("; ")).await? {
            Ok(()) => return Ok(Ok(steps.to_vec())),
            Err(refusal) => reason = refusal,
        }
        attempt(attack, "reset role").await?.ok();
    }
    Ok(Err(reason))
}

/// Runs a statement of the harness's own or the project's; a refusal is an outcome, a lost server an error.
async fn attempt(attack: &mut Attack, sql: &str) -> Result<Result<(), String>> {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut attack.control).await {
        Ok(_) => Ok(Ok(())),
        Err(sqlx::Error::Database(answer)) => {
            Ok(Err(format!("SQLSTATE {}", answer.code().unwrap_or_default())))
        }
        Err(lost) => Err(lost.into()),
    }
}

/// Makes the new tables part of the scene, with rows of both tenants.
async fn enter(
    attack: &mut Attack,
    new: BTreeSet<QualifiedName>,
    steps: Vec<String>,
) -> Result<Vec<Relation>> {
    let mut relations = tables::read(&mut attack.control, &attack.tenancy).await?;
    relations.retain(|relation| new.contains(&relation.name));
    tables::read_privileges(&mut attack.control, &attack.roles, &mut relations).await?;
    let making = relations.first().map(|relation| relation.name.clone());
    for (table, sql) in making.iter().flat_map(|table| steps.iter().map(move |sql| (table, sql))) {
        let (table, sql) = (table.clone(), sql.clone());
        attack.seeds.journal.push(Step { table, sql, reads: BTreeSet::new() });
    }
    // One statement makes them all, so that a transcript about one has it too.
    let reads: BTreeSet<QualifiedName> = making.into_iter().collect();
    let seeds = attack.seed(&relations).await?;
    attack.seeds.journal.extend(seeds.journal.into_iter().map(|mut step| {
        step.reads.extend(reads.iter().cloned());
        step
    }));
    attack.seeds.lacking.extend(seeds.lacking);
    attack.relations.retain(|known| !new.contains(&known.name));
    attack.relations.extend(relations.iter().cloned());
    let mut session = Session {
        role: attack.admin.clone(),
        connection: attack.db.connection().await?,
        context: Some(attack.context_of(&attack.tenants.own)),
    };
    for relation in &relations {
        let counts = session.count(relation, &attack.tenants).await?.outcome.unwrap_or_default();
        attack.truth.insert(relation.name.clone(), counts);
    }
    attack.control.execute("discard plans").await?;
    Ok(relations)
}

/// What the procedure made lacks what the other partitions have, though nobody can reach it yet.
fn unlike_siblings(attack: &mut Attack, parent: &Relation, new: &[Relation]) {
    let siblings = attack.relations.iter().filter(|relation| {
        relation.kind == "partition"
            && relation.ancestors.contains(&parent.name)
            && !new.iter().any(|made| made.name == relation.name)
    });
    let enabled: Vec<bool> = siblings.map(|relation| relation.is_enabled).collect();
    if enabled.is_empty() || enabled.contains(&false) {
        return;
    }
    let Some(made) = new.iter().find(|made| made.kind == "partition" && !made.is_enabled) else { return };
    let sql = format!(
        "select relrowsecurity from pg_class where oid = {}::regclass",
        quote_literal(&made.name.sql())
    );
    let mut evidence = attack.steps_for([made.name.clone()].into());
    evidence.push(Evidence::as_role(&attack.admin, sql, "false; it is true of the other partitions"));
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: subject(made.kind, &made.name),
        message: format!(
            "`{}`, which the procedure of `{}` made, has no row-level security as the other partitions have; {} may not \
             reach it yet",
            made.name,
            parent.name,
            roles::listed(&attack.roles)
        ),
        help: "let the procedure enable row-level security on what it makes".into(),
        evidence,
    });
}
