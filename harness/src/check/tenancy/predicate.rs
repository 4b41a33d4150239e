//! `tenancy.predicate`: whether a condition of one's own sees rows before policies hide them.

use super::probe::Session;
use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Leak, Reach, Tried};
use super::without_others::{self, tells};
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Severity};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::Executor;
use std::collections::HashSet;

/// A function in a WHERE is given no row that is then hidden.
pub(in crate::check) struct Predicate;

impl Check for Predicate {
    fn id(&self) -> &'static str {
        "tenancy.predicate"
    }

    fn summary(&self) -> &'static str {
        "a condition of one's own is asked of no row that the policies hide"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "A cheap function that remembers what it was given is put into the WHERE of a query of every relation with \
                     the tenant's column, by every role of `tenancy.roles` that may read it, with a tenant set: it was given the \
                     tenant's own rows, and none of another. Functions of the project that are declared LEAKPROOF are put there too: \
                     no error of theirs tells a value of another tenant.",
            matters: "The planner asks the cheapest condition first. Policies go before the conditions of a query, and so does what a view \
                      filters if it is a security barrier; a plain view that filters by tenant is no border, as any error or notice \
                      of a function, even a division by zero, tells of rows that it hides. LEAKPROOF says that a function may \
                      go first: the server believes it.",
            remedy: "`alter view … set (security_barrier = true)`, or policies on the table and `security_invoker`; no LEAKPROOF on \
                     a function that can raise an error.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.predicate":
            "bad_leakproof.sql", "bad_view.sql", "good.sql", "good_view.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select from orders where shown(item)",
            gets: "ERROR: no such lamp: B's lamp",
            because: "`shown` is declared LEAKPROOF, and so is asked before the policy of `orders`",
            fix: "alter function shown(text) not leakproof",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.predicate", Ask { known: None }))
    }
}

/// Makes the function that remembers, as somebody might who may create one.
const EAR: [&str; 3] = [
    "create schema pgharness_ear",
    "create function pgharness_ear.hear(line text) returns boolean language plpgsql cost 0.0000001 as $$ begin \
     perform set_config('pgharness.heard', concat(current_setting('pgharness.heard', true), line, ','), true); \
     return true; end $$",
    "grant usage on schema pgharness_ear to public; grant execute on function pgharness_ear.hear(text) to public",
];

struct Ask {
    known: Option<Known>,
}

/// What is asked, and what must not be told.
struct Known {
    secrets: HashSet<String>,
    leakproof: Vec<Leakproof>,
}

/// A function of the project that is declared so.
#[derive(Debug)]
struct Leakproof {
    /// As SQL calls it.
    call: String,
    /// The type of its argument.
    argument: String,
    /// The roles that may call it.
    callers: Vec<String>,
}

impl Known {
    async fn prepare(writing: &mut Writing) -> Result<Known> {
        let attack = &mut writing.attack;
        for statement in EAR {
            attack.control.execute(statement).await?;
        }
        let leakproof: Vec<(String, String, Vec<String>)> = sqlx::query_as(
            "select format('%I.%I', n.nspname, p.proname) as call, p.proargtypes[0]::regtype::text as argument,
                array(select r from unnest($1::text[]) r
                    where has_function_privilege(r, p.oid, 'execute') and has_schema_privilege(r, n.oid, 'usage')) as callers
             from pg_proc p join pg_namespace n on n.oid = p.pronamespace
             where p.proleakproof and p.oid >= 16384 and p.prokind = 'f' and p.pronargs = 1 order by 1, 2",
        )
        .bind(&attack.roles)
        .fetch_all(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to look for LEAKPROOF functions".into())?;
        let leakproof = leakproof.into_iter();
        let leakproof = leakproof.map(|(call, argument, callers)| Leakproof { call, argument, callers });
        Ok(Known { secrets: without_others::values(attack).await?, leakproof: leakproof.collect() })
    }
}

impl Assault for Ask {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        if !writing.may_tell_apart(relation, &actor.role) {
            return Ok(None);
        }
        let known = match &mut self.known {
            Some(known) => known,
            empty => empty.insert(Known::prepare(writing).await?),
        };
        match overhears(writing, &mut actor.own, relation).await? {
            Tried::Refused => {}
            other => return Ok(Some(other)),
        }
        let leak = complains(writing, known, &mut actor.own, relation).await?;
        Ok(Some(leak.map_or(Tried::Refused, Tried::Leak)))
    }
}

/// Has the function that remembers asked of every row.
async fn overhears(writing: &mut Writing, session: &mut Session, relation: &Relation) -> Result<Tried> {
    let (name, column) = (relation.name.sql(), &relation.column);
    let heard = |tenant: &str| {
        let pattern = quote_literal(&format!("%,{tenant},%"));
        format!("select count(*) where concat(',', current_setting('pgharness.heard', true)) like {pattern}")
    };
    let query = format!("select count(*) from {name} where pgharness_ear.hear({column}::text)");
    let tenants = &writing.attack.tenants;
    let statements = [query.clone(), heard(&tenants.own), heard(&tenants.other)];
    let played = writing.play(session, &statements, None).await?;
    if let Some(refusal) = played.refusal {
        return Ok(Tried::Unknown(format!("the statement failed ({refusal})")));
    }
    let [seen, own, other] = played.figures[..] else { return Ok(Tried::Refused) };
    writing.proved(own > 0);
    if other == 0 {
        let is_idle = own == 0 && writing.attack.lacks(relation).is_none();
        return Ok(match is_idle {
            true => writing.unproven(relation, session, "read", query, Reach::Nothing),
            false => Tried::Refused,
        });
    }
    // What the query shows anyway is another check's.
    let shown = format!("select count(*) from {name} where {column} = {}", writing.tenants().1);
    if writing.play(session, &[shown], None).await?.figures != [0] {
        return Ok(Tried::Refused);
    }
    let mut evidence = writing.attack.seeding(relation);
    evidence.extend(EAR.map(|statement| Evidence::as_role(&writing.attack.admin, statement, "done")));
    let results = [&format!("{seen}: its own"), "1", "1: the function was given another tenant's row"];
    let steps = statements.iter().zip(results);
    let steps = steps.map(|(sql, result)| Evidence::as_role(&session.role, sql, result)).collect();
    evidence.extend(transcript(session, steps));
    let (class, help) = match relation.kind {
        "view" => (Class::Mistake, format!("alter view {name} set (security_barrier = true)")),
        _ => (Class::ServerBug, "update the server to its latest minor version".to_owned()),
    };
    Ok(Tried::Leak(Leak {
        class,
        severity: Severity::Error,
        does: format!(
            "asks rows of another tenant that `{}` hides, by a function in the WHERE",
            relation.name
        ),
        help,
        evidence,
    }))
}

/// Has what is declared LEAKPROOF asked of every value that it takes.
async fn complains(
    writing: &mut Writing,
    known: &Known,
    session: &mut Session,
    relation: &Relation,
) -> Result<Option<Leak>> {
    let role = session.role.clone();
    for function in known.leakproof.iter().filter(|function| function.callers.contains(&role)) {
        let columns: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute
             where attrelid = $1::regclass and attnum > 0 and not attisdropped and atttypid = $2::regtype order by attnum",
        )
        .bind(relation.name.sql())
        .bind(&function.argument)
        .fetch_all(&mut writing.attack.control)
        .await
        .attempt(ErrorKind::Database, || format!("failed to read the columns of `{}`", relation.name))?;
        let reads = writing.rights.of(relation, &session.role).reads.clone();
        for column in columns.iter().filter(|column| reads.contains(*column)) {
            // The server's own operators are LEAKPROOF too: this one leaves out the rows that are no secret.
            let sql = format!(
                "select count(*) from {} where {} <> {} and {}({}) is not null",
                relation.name.sql(),
                relation.column,
                writing.tenants().0,
                function.call,
                quote_ident(column)
            );
            let Some(complaint) = session.complaint(&[], &sql).await? else { continue };
            if !tells(&complaint.text, "", &known.secrets) {
                continue;
            }
            let mut evidence = writing.attack.seeding(relation);
            let result = format!("SQLSTATE {}, with a value of another tenant's row", complaint.refusal.code);
            evidence.extend(transcript(session, vec![Evidence::as_role(&session.role, sql, result)]));
            return Ok(Some(Leak {
                class: Class::Mistake,
                severity: Severity::Error,
                does: format!(
                    "reads rows of another tenant in `{}` from the error of `{}`, which is declared LEAKPROOF",
                    relation.name, function.call
                ),
                help: format!("alter function {}({}) not leakproof", function.call, function.argument),
                evidence,
            }));
        }
    }
    Ok(None)
}
