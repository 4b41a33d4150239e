//! `tenancy.statistics`: whether what the planner keeps of the rows of all tenants is shown to one.

use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Leak, Tried};
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::{Class, Evidence, Severity};
use crate::ident::{QualifiedName, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};
use std::collections::BTreeMap;

/// The planner's statistics show no tenant a value of another's rows.
pub(in crate::check) struct Statistics;

impl Check for Statistics {
    fn id(&self) -> &'static str {
        "tenancy.statistics"
    }

    fn summary(&self) -> &'static str {
        "the planner's statistics show a tenant no value of another's rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The tables of tenants are analyzed. Then every role of `tenancy.roles` that may read one, with a tenant set, \
                     looks for another tenant in `pg_statistic`, `pg_statistic_ext_data`, `pg_stats`, `pg_stats_ext` and \
                     `pg_stats_ext_exprs`: there is nothing, while a superuser finds it. How many rows all tenants have together is no \
                     secret to anybody: `pg_class.reltuples` and EXPLAIN tell it, which is how the server is made.",
            matters: "ANALYZE copies values out of rows: the most common ones, and bounds of a histogram. The views hide those of a table \
                      with policies from whoever they bind; the tables beneath hide nothing from whom they are granted to, \
                      as they are to some tools for monitoring.",
            remedy: "Grant `pg_stats` and `pg_monitor`, never `pg_statistic`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.statistics": "bad.sql", "bad_extended.sql", "good.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, which also shows how busy the database is",
            runs: "select stavalues1 from pg_statistic where starelid = 'orders'::regclass",
            gets: "{a chair,a lamp}: the lamp is B's",
            because: "ANALYZE keeps values of all tenants, and policies do not bind a grant on the catalog",
            fix: "revoke select on pg_statistic from web_app",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.statistics", Look::default()))
    }
}

#[derive(Default)]
struct Look {
    is_analyzed: bool,
    /// Whether a superuser finds the other tenant, by table.
    kept: BTreeMap<QualifiedName, bool>,
}

/// Where values of a table's rows may be found, and those of them that a tenant is among.
const PLACES: [&str; 5] = [
    "pg_stats where (schemaname, tablename) = ({schema}, {table}) and concat(most_common_vals, histogram_bounds) like {value}",
    "pg_statistic where starelid = {name}::regclass and concat(stavalues1, stavalues2) like {value}",
    "pg_stats_ext where (schemaname, tablename) = ({schema}, {table}) and most_common_vals::text like {value}",
    "pg_statistic_ext_data d join pg_statistic_ext e on e.oid = d.stxoid, lateral pg_mcv_list_items(d.stxdmcv) i \
     where e.stxrelid = {name}::regclass and i.values::text like {value}",
    "pg_stats_ext_exprs where (schemaname, tablename) = ({schema}, {table}) \
     and concat(most_common_vals, histogram_bounds) like {value}",
];

impl Assault for Look {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        // Where no policy hides the rows, they are not read from here.
        if !writing.may_tell_apart(relation, &actor.role) || !relation.is_guarded() {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.is_analyzed, true) {
            writing.attack.control.execute("analyze").await?;
        }
        let value = quote_literal(&format!("%{}%", writing.attack.tenants.other));
        let queries = PLACES.map(|place| {
            let place = place
                .replace("{name}", &quote_literal(&relation.name.sql()))
                .replace("{schema}", &quote_literal(&relation.name.schema))
                .replace("{table}", &quote_literal(&relation.name.name))
                .replace("{value}", &value);
            format!("select count(*) from {place}")
        });
        for (place, query) in PLACES.iter().zip(&queries) {
            let played = writing.play(&mut actor.own, std::slice::from_ref(query), None).await?;
            let Some(found) = played.figures.first().filter(|found| **found > 0) else { continue };
            let mut evidence = writing.attack.seeding(relation);
            let analyze = format!("analyze {}", relation.name.sql());
            evidence.push(Evidence::as_role(&writing.attack.admin, analyze, "done"));
            let step = Evidence::as_role(
                &actor.role,
                query.clone(),
                format!("{found}, with a value of another tenant"),
            );
            evidence.extend(transcript(&actor.own, vec![step]));
            let catalog = place.split(' ').next().unwrap_or(place);
            return Ok(Some(Tried::Leak(Leak {
                class: Class::Mistake,
                severity: Severity::Error,
                does: format!("finds values of another tenant's rows of `{}` in `{catalog}`", relation.name),
                help: format!("revoke select on {catalog} from whom services connect as"),
                evidence,
            })));
        }
        let is_kept = self.is_kept(writing, relation, &queries).await?;
        writing.proved(is_kept);
        Ok(Some(Tried::Refused))
    }
}

impl Look {
    /// Whether a superuser finds what `queries` ask for: asked once for a table, whatever the role.
    async fn is_kept(
        &mut self,
        writing: &mut Writing,
        relation: &Relation,
        queries: &[String],
    ) -> Result<bool> {
        if let Some(is_kept) = self.kept.get(&relation.name) {
            return Ok(*is_kept);
        }
        let all: Vec<String> = queries.iter().map(|query| format!("({query})")).collect();
        let is_kept = sqlx::query_scalar(AssertSqlSafe(format!("select {} > 0", all.join(" + "))))
            .fetch_one(&mut writing.attack.control)
            .await?;
        self.kept.insert(relation.name.clone(), is_kept);
        Ok(is_kept)
    }
}
