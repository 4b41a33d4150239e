//! `tenancy.pooled-context`: what a client of a transaction pooler sees of the one before.

use super::attack::Attack;
use super::pooled::{Pooled, Views, count, more};
use super::roles::{done_by, grouped, listed, subject};
use super::setters::{self, Setter};
use super::tables::Relation;
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::{Capability, PgBouncer};
use sqlx::AssertSqlSafe;

/// A tenant that one client set is gone before the next client has the session.
pub(in crate::check) struct PooledContext;

impl Check for PooledContext {
    fn id(&self) -> &'static str {
        "tenancy.pooled-context"
    }

    fn summary(&self) -> &'static str {
        "behind a transaction pooler no client works in the tenant of the one before"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, and two clients share its session, as they do behind a pooler \
                     in transaction mode; where PgBouncer is installed, the same is done through one. The first sets a \
                     tenant for its transaction, by `set_config(…, true)` and by every function and procedure of the \
                     project that sets the tenant, and commits, or rolls back. The second says nothing of itself and \
                     reads every relation: it sees no more than a client with a session of its own. Functions are found \
                     by calling each that takes up to three values, in a transaction that is rolled back. As a control \
                     the first sets the tenant for the session, and then the second does see its rows: SET outlives COMMIT, \
                     and a service that uses it behind a pooler hands out one tenant's rows to the next. Whether a service \
                     does is not seen here.",
            matters: "Behind a pooler the session goes on to somebody else at every COMMIT. A tenant set for the session \
                      stays with it, and a ROLLBACK brings back the one from before. Once SET LOCAL has ended, the setting \
                      is the empty string and no longer unknown: a policy that lets everybody in then hands out all rows.",
            remedy: "Set the tenant for the transaction: `set local`, or `set_config('app.tenant_id', …, true)`, inside \
                     the functions that do it as well. Never by ALTER ROLE. In policies make the empty string null: \
                     `nullif(current_setting('app.tenant_id', true), '')`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.pooled-context":
            "bad.sql", "bad_definer.sql", "bad_empty_string.sql", "bad_procedure.sql", "bad_role_setting.sql",
            "bad_session_table.sql", "good.sql", "good_plain.sql", "good_stamped.sql", "good_text.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app` twice, through PgBouncer in transaction mode: the first client for tenant A, the second \
                       forgets to say for whom",
            runs: "select item from orders",
            gets: "A's lamp, though A's transaction is over",
            because: "`set_tenant` sets the tenant for the session, which is the second client's now",
            fix: "create or replace function set_tenant(tenant uuid) returns void language sql \
                  as $$ select set_config('app.tenant_id', tenant::text, true) $$",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What the first client does.
#[derive(Clone, PartialEq)]
enum Way {
    /// It sets the tenant for its transaction.
    Local { ends: &'static str },
    /// It calls a function of the project.
    Setter { setter: Setter, ends: &'static str },
}

impl Way {
    fn statements(&self, attack: &Attack) -> Vec<String> {
        let (middle, ends) = match self {
            Way::Local { ends } => (set_config(attack, true), ends),
            Way::Setter { setter, ends } => (setter.call.clone(), ends),
        };
        vec!["begin".into(), middle, (*ends).to_owned()]
    }
}

fn set_config(attack: &Attack, is_local: bool) -> String {
    let (setting, value) = attack.context_of(&attack.tenants.own);
    format!("select set_config({}, {}, {is_local})", quote_literal(&setting), quote_literal(&value))
}

/// Something that the second client saw, for all roles that did.
#[derive(Clone, PartialEq)]
struct Seen {
    way: Way,
    relations: Vec<(Named, i64)>,
    is_pgbouncer: bool,
}

/// A relation by its kind and its name.
type Named = (&'static str, QualifiedName);

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.pooled-context").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let (mut seen, mut controls, mut probes) = (Vec::new(), 0, 0);
    for role in attack.roles.clone() {
        let all = attack.relations.clone();
        let relations: Vec<&Relation> =
            all.iter().filter(|relation| relation.readers.contains(&role)).collect();
        if relations.is_empty() {
            continue;
        }
        let setters = setters::find(&mut attack, &role).await?;
        let direct = Pooled::by_session(&attack, &role);
        let Some(fresh) = direct.after(&[], &relations).await? else { continue };
        begins_as_tenant(&mut attack, &role, &relations, &fresh).await?;
        let mut links = vec![direct];
        links.extend(Pooled::by_pgbouncer(&attack, &role).await?);
        for link in links {
            let held = link.after(&[set_config(&attack, false)], &relations).await?.unwrap_or_default();
            if !held.iter().flatten().any(|seen| *seen > 0) {
                unproven(&mut attack, &role);
                break;
            }
            controls += 1;
            let ways = ["commit", "rollback"].map(|ends| Way::Local { ends }).into_iter();
            let of_setters = setters.iter().flat_map(|setter| {
                ["commit", "rollback"].map(|ends| Way::Setter { setter: setter.clone(), ends })
            });
            for way in ways.chain(of_setters) {
                probes += relations.len();
                let Some(after) = link.after(&way.statements(&attack), &relations).await? else { continue };
                let leaked = more(&relations, &fresh, &after);
                if !leaked.is_empty() {
                    let relations =
                        leaked.iter().map(|(relation, rows)| ((relation.kind, relation.name.clone()), *rows));
                    let (relations, is_pgbouncer) = (relations.collect(), link.is_pgbouncer());
                    seen.push((role.clone(), Seen { way, relations, is_pgbouncer }));
                }
            }
        }
    }
    attack.count_probes(probes);
    report(&mut attack, seen);
    let figure = super::trial::controls("tenancy.pooled-context", controls);
    let verdict = attack.verdict().with_measurements([figure]);
    Ok(if PgBouncer::is_installed() {
        verdict
    } else {
        verdict.with_remark("not tried through a transaction pooler, since `pgbouncer` is not installed")
    })
}

/// A role whose sessions begin with a tenant needs no client before it.
async fn begins_as_tenant(
    attack: &mut Attack,
    role: &str,
    relations: &[&Relation],
    fresh: &Views,
) -> Result<()> {
    let sql = format!("select coalesce(current_setting({}, true), '') <> ''", quote_literal(&attack.setting));
    let mut connection = attack.session(role, false).await?.connection;
    let is_set: bool = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await?;
    let none = vec![None; relations.len()];
    let leaked = more(relations, &none, fresh);
    let (true, Some((relation, visible))) = (is_set, leaked.first()) else { return Ok(()) };
    let mut evidence = attack.seeding(relation);
    let settings = format!(
        "select count(*) from pg_db_role_setting s, unnest(s.setconfig) as one \
         where s.setrole in (0, {}::regrole) and starts_with(one, {})",
        quote_literal(&quote_ident(role)),
        quote_literal(&format!("{}=", attack.setting))
    );
    evidence.push(Evidence::as_role(&attack.admin, settings, "1 row: a setting of the role"));
    evidence.push(Evidence::step(
        format!("a new session of `{role}`: {}", count(relation)),
        format!("{} visible", rows(*visible)),
    ));
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("role", role),
        message: format!("every session of `{role}` begins in the context of a tenant, and sees its rows"),
        help: format!(
            "`alter role {} reset {}`: a tenant is set for a transaction",
            quote_ident(role),
            attack.setting
        ),
        evidence,
    });
    Ok(())
}

/// Not even a tenant that is set for the session lets the next client see anything.
fn unproven(attack: &mut Attack, role: &str) {
    let sql = set_config(attack, false);
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Uncovered,
        severity: Severity::Note,
        subject: Subject::new("role", role),
        message: format!(
            "`{role}` was not tried behind a pooler: it sees no row of its tenant, whatever is set in the session"
        ),
        help: "a context that is more than a setting is bound to its transaction already; else see `tenancy.cross-read`"
            .into(),
        evidence: vec![
            Evidence::as_role(role, sql, ""),
            Evidence::step("looking at every relation", "no row of any is seen"),
        ],
    });
}

fn report(attack: &mut Attack, seen: Vec<(String, Seen)>) {
    // What a session shows, PgBouncer shows too: once is enough.
    let (direct, pooled): (Vec<_>, Vec<_>) = seen.into_iter().partition(|(_, seen)| !seen.is_pgbouncer);
    let is_known =
        |role: &String, way: &Way| direct.iter().any(|(other, seen)| other == role && seen.way == *way);
    let only_pooled: Vec<(String, Seen)> =
        pooled.iter().filter(|(role, seen)| !is_known(role, &seen.way)).cloned().collect();
    let all = direct.iter().cloned().chain(only_pooled);
    // The end of the transaction that shows it first is told.
    let mut told: Vec<(String, Option<Setter>)> = Vec::new();
    let mut each = Vec::new();
    for (role, seen) in all {
        let setter = match &seen.way {
            Way::Local { .. } => None,
            Way::Setter { setter, .. } => Some(setter.clone()),
        };
        if !told.contains(&(role.clone(), setter.clone())) {
            told.push((role.clone(), setter));
            let through = pooled.iter().any(|(other, pooled)| *other == role && pooled.way == seen.way);
            each.push((role, (seen, through)));
        }
    }
    for (roles, (seen, through)) in grouped(each) {
        let finding = finding(attack, &roles, &seen, through);
        attack.findings.push(finding);
    }
}

fn finding(attack: &Attack, roles: &[String], seen: &Seen, through: bool) -> Finding {
    let role = roles.first().cloned().unwrap_or_default();
    let shown = seen
        .relations
        .first()
        .and_then(|((_, name), _)| attack.relations.iter().find(|relation| relation.name == *name));
    let mut evidence = shown.map(|relation| attack.seeding(relation)).unwrap_or_default();
    for statement in seen.way.statements(attack) {
        evidence.push(Evidence::as_role(&role, statement, ""));
    }
    let way = match (seen.is_pgbouncer, through) {
        (true, _) => "through PgBouncer in transaction mode",
        (false, true) => "the same through PgBouncer in transaction mode",
        (false, false) => "as a transaction pooler does",
    };
    evidence.push(Evidence::step("the next client is given the session", way));
    if let (Some(relation), Some((_, visible))) = (shown, seen.relations.first()) {
        evidence.push(Evidence::as_role(&role, count(relation), format!("{} visible", rows(*visible))));
    }
    let names: Vec<String> =
        seen.relations.iter().take(3).map(|((_, name), _)| format!("`{name}`")).collect();
    let others = seen.relations.len().saturating_sub(names.len());
    let where_ = match others {
        0 => names.join(", "),
        others => format!("{} and {others} more", names.join(", ")),
    };
    let (who, reads) = (listed(roles), done_by(roles, "reads"));
    let (subject, message, help) = match &seen.way {
        Way::Setter { setter, ends } => (
            Subject::new(setter.kind, &setter.name),
            format!(
                "the tenant that `{}` sets outlives the {ends}: {who} {reads} rows of {where_} in the next client's name",
                setter.name
            ),
            "set the tenant for the transaction only: the third argument of `set_config` is `true`"
                .to_owned(),
        ),
        Way::Local { .. } => (
            shown.map_or_else(
                || Subject::new("setting", &attack.setting),
                |relation| subject(relation.kind, &relation.name),
            ),
            format!(
                "once another client's SET LOCAL has ended, {who} {reads} rows of {where_} without a tenant: the setting \
                 is the empty string then"
            ),
            format!("let policies make it null: `{}`", attack.spelling.expression()),
        ),
    };
    Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject,
        message,
        help,
        evidence,
    }
}
