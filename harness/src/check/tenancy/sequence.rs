//! `tenancy.sequence`: whether a counter tells how much all tenants do.

use super::attack::Attack;
use super::roles::{grouped, listed};
use super::trial;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};
use std::collections::BTreeSet;

/// No counter that all tenants share is read by one of them.
pub(in crate::check) struct Sequence;

impl Check for Sequence {
    fn id(&self) -> &'static str {
        "tenancy.sequence"
    }

    fn summary(&self) -> &'static str {
        "no sequence that counts the rows of all tenants is read by one of them"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` looks at the sequences of tables with the tenant's column; then a number is drawn \
                     as for another tenant, and it looks again. Where the number has moved on, a note says so. A key drawn \
                     from such a sequence tells the same to whoever inserts a row, sequence or not.",
            matters: "A sequence knows no tenant: two looks at it, a day apart, say how many rows all tenants together have \
                      added. For most this is no secret; for some it is the number of customers.",
            remedy: "Use UUIDs as keys, or a counter for each tenant; grant USAGE on a sequence and not SELECT. If the number may \
                     be known, allow the finding.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select last_value from orders_id_seq",
            gets: "how many orders all tenants together have ever placed",
            because: "the sequence is everybody's, and may be read",
            fix: "revoke select, update, usage on sequence orders_id_seq from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::SEQUENCE
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// A sequence of a table of tenants.
struct Counter {
    name: QualifiedName,
    table: QualifiedName,
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.sequence").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let counters = read(&mut attack).await?;
    let (mut probes, mut controls) = (0, 0);
    for counter in counters {
        let sequence = quote_literal(&counter.name.sql());
        let ways =
            [format!("select last_value from {}", counter.name.sql()), format!("select nextval({sequence})")];
        let mut told = Vec::new();
        for role in attack.roles.clone() {
            let mut session = attack.session(&role, true).await?;
            for sql in &ways {
                probes += 2;
                let before = session.try_out(&[], sql.clone()).await?.outcome;
                for _ in 0..2 {
                    attack.control.execute(AssertSqlSafe(format!("select nextval({sequence})"))).await?;
                }
                controls += 1;
                let after = session.try_out(&[], sql.clone()).await?.outcome;
                let number =
                    |gave: &trial::Gave| gave.lines.first().and_then(|line| line.parse::<i64>().ok());
                let (Ok(before), Ok(after)) = (before, after) else { continue };
                if number(&before).zip(number(&after)).is_some_and(|(before, after)| after >= before + 2) {
                    told.push((role.clone(), sql.clone()));
                    break;
                }
            }
        }
        for (roles, sql) in grouped(told) {
            report(&mut attack, &counter, &roles, &sql).await?;
        }
    }
    attack.count_probes(probes);
    attack.count_controls(controls);
    Ok(attack.verdict())
}

/// The sequences that columns of tables of tenants draw from.
async fn read(attack: &mut Attack) -> Result<Vec<Counter>> {
    let names: Vec<String> = attack
        .relations
        .iter()
        .filter(|relation| relation.is_store())
        .map(|relation| relation.name.sql())
        .collect();
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "select distinct sn.nspname::text, s.relname::text, n.nspname::text, c.relname::text
         from pg_class s join pg_namespace sn on sn.oid = s.relnamespace
         join (
            select objid as sequence, refobjid as relation from pg_depend
            where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and deptype in ('a', 'i')
            union
            select d.refobjid, a.adrelid from pg_depend d join pg_attrdef a on a.oid = d.objid
            where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
         ) used on used.sequence = s.oid
         join pg_class c on c.oid = used.relation join pg_namespace n on n.oid = c.relnamespace
         where s.relkind = 'S' and c.oid in (select name::regclass from unnest($1) name)
         order by 1, 2, 3, 4",
    )
    .bind(names)
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || "failed to list the sequences of tables of tenants".into())?;
    let mut seen = BTreeSet::new();
    let counters = rows.into_iter().map(|(schema, name, table_schema, table)| Counter {
        name: QualifiedName::new(schema, name),
        table: QualifiedName::new(table_schema, table),
    });
    Ok(counters.filter(|counter| seen.insert(counter.name.clone())).collect())
}

async fn report(attack: &mut Attack, counter: &Counter, roles: &[String], sql: &str) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let draw = format!("select nextval({}) is not null", quote_literal(&counter.name.sql()));
    let keep = format!("select set_config('pgharness.seen', ({sql})::text, false) is not null");
    let compare = format!("select ({sql}) <> current_setting('pgharness.seen')::bigint");
    let evidence = vec![
        // The last value of one that nobody drew from is what the first draw gives.
        Evidence::as_role(&attack.admin, &draw, "true: as for a row"),
        Evidence::as_role(role, keep, "true: a number is seen"),
        Evidence::as_role(&attack.admin, &draw, "true: as for a row of another tenant"),
        Evidence::as_role(role, compare, "true: the number is another"),
    ];
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::TrustBoundary,
        severity: Severity::Note,
        subject: Subject::new("sequence", counter.name.to_string()),
        message: format!(
            "`{}` tells {} how many rows all tenants add to `{}`",
            counter.name,
            listed(roles),
            counter.table
        ),
        help: "if the number may be known, allow this; else use UUIDs as keys, or grant USAGE on the sequence only to who \
               inserts"
            .into(),
        evidence,
    });
    Ok(())
}
