//! Who may do what, as attempts show it.

use super::objects::{self, Object, PROBE, Sort, Trial};
use super::roles::{self, Role, named};
use crate::check::attempt::{Answer, SCRATCH, attempt, prepare, transcript};
use crate::check::spelling::{key, quoted};
use crate::check::{Context, Privilege, matches};
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::Evidence;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What one role may do, by object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// Each privilege that was tried, with the statement that decided, what came of it, and whether it is held.
    pub(super) by_object: BTreeMap<String, BTreeMap<Privilege, Tried>>,
    pub(super) attempts: usize,
}

/// What came of trying a privilege.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) sql: String,
    pub(super) answer: Answer,
    /// `None`: nobody knows.
    pub(super) is_held: Option<bool>,
}

impl Measured {
    /// What it holds of an object.
    pub(super) fn held(&self, object: &str) -> BTreeSet<Privilege> {
        let tried = self.by_object.get(object).into_iter().flatten();
        tried.filter(|(_, tried)| tried.is_held == Some(true)).map(|(privilege, _)| *privilege).collect()
    }
}

impl Tried {
    /// The steps that show it again as `role`; `admin` prepares what they need.
    pub(super) fn steps(&self, admin: &str, role: &str) -> Vec<Evidence> {
        let mut steps: Vec<Evidence> = self.place(admin).into_iter().collect();
        let before = self.own().into_iter().collect();
        steps.extend(transcript(role, before, &self.sql, self.answer.to_string()));
        steps
    }

    /// The step that makes the place that it needs, if any.
    pub(super) fn place(&self, admin: &str) -> Option<Evidence> {
        self.sql.contains(SCRATCH).then(|| {
            let place = format!(
                "create schema if not exists {SCRATCH}; grant usage, create on schema {SCRATCH} to public; \
                 create or replace function {SCRATCH}.nothing() returns trigger language plpgsql as 'begin return null; end'"
            );
            Evidence::as_role(admin, place, "")
        })
    }

    /// The statement that makes the table of its own that it needs, if any.
    pub(super) fn own(&self) -> Option<String> {
        self.sql.contains(PROBE).then(creation)
    }
}

fn creation() -> String {
    format!("create table {PROBE} (c integer)")
}

/// Tries everything, as whoever `connection` is.
///
/// # Errors
/// The server is lost.
pub(super) async fn measure(connection: &mut PgConnection, objects: &[Object]) -> Result<Measured> {
    let trials: Vec<_> =
        objects.iter().flat_map(|object| object.trials.iter().map(move |trial| (object, trial))).collect();
    let attempts: Vec<_> = trials.iter().map(|(_, trial)| trial.attempt()).collect();
    connection.execute(AssertSqlSafe(creation())).await?;
    let answers = attempt(connection, &attempts).await?;
    connection.execute(AssertSqlSafe(format!("drop table {PROBE}"))).await?;
    let mut measured = Measured { attempts: attempts.len(), ..Measured::default() };
    let undecided = |(object, trial): &(&Object, &Trial), answer: &Answer| {
        object.oid.filter(|_| trial.is_undecided(answer)).map(|oid| (oid, trial.privilege))
    };
    let asked = trials.iter().zip(&answers).filter_map(|(trial, answer)| undecided(trial, answer));
    let granted = granted(connection, asked.collect()).await?;
    for ((object, trial), answer) in trials.into_iter().zip(answers) {
        let is_held = match undecided(&(object, trial), &answer) {
            Some(asked) => Some(granted.contains(&asked)),
            None => trial.is_held(&answer),
        };
        let tried = Tried { sql: trial.sql.clone(), answer, is_held };
        let of_object = measured.by_object.entry(object.name.clone()).or_default();
        // One column that may be written is enough.
        let known = of_object.get(&trial.privilege);
        if known.is_none_or(|known| known.is_held != Some(true)) {
            of_object.insert(trial.privilege, tried);
        }
    }
    Ok(measured)
}

/// Which of these privileges, each of a relation by its object id, whoever `connection` is was granted.
///
/// # Errors
/// The server is lost.
async fn granted(
    connection: &mut PgConnection,
    asked: BTreeSet<(i64, Privilege)>,
) -> Result<BTreeSet<(i64, Privilege)>> {
    if asked.is_empty() {
        return Ok(asked);
    }
    let (oids, words): (Vec<i64>, Vec<String>) =
        asked.iter().map(|(oid, privilege)| (*oid, privilege.to_string())).unzip();
    let held: Vec<bool> = sqlx::query_scalar(
        "select has_schema_privilege(c.relnamespace, 'usage')
            and case a.word when 'delete' then has_table_privilege(c.oid, a.word) else has_any_column_privilege(c.oid, a.word) end
         from unnest($1::int8[], $2::text[]) with ordinality a (oid, word, place)
         join pg_catalog.pg_class c on c.oid = a.oid::oid
         order by a.place",
    )
    .bind(oids)
    .bind(words)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || "failed to read what a role was granted".into())?;
    Ok(asked.into_iter().zip(held).filter(|(_, held)| *held).map(|(asked, _)| asked).collect())
}

/// What roles may do.
pub(super) struct Survey {
    /// The role that looks after the server.
    pub(super) admin: String,
    pub(super) objects: Vec<Object>,
    pub(super) by_role: BTreeMap<String, Measured>,
}

/// Tries everything as each of `wanted`, or else of the project's roles, or else of all that privileges bind.
///
/// # Errors
/// There is no server, or a role does not exist.
pub(super) async fn survey(context: &Context, wanted: Option<&[&str]>) -> Result<Survey> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let roles: Vec<Role> = match wanted {
        Some(wanted) => named(&roles::known(&mut control).await?, wanted.iter().copied())?,
        None => roles::bound(&mut control, context.project()).await?,
    };
    let objects = objects::read(&mut control).await?;
    prepare(&mut control).await?;
    let mut by_role = BTreeMap::new();
    // One after the other: TRUNCATE keeps all others away from its table.
    for role in roles {
        let mut session = roles::session(&db, &role).await?;
        by_role.insert(role.name, measure(&mut session, &objects).await?);
    }
    Ok(Survey { admin: db.server().endpoint().role().to_owned(), objects, by_role })
}

/// The lines of `[access.matrix]` that say what `roles` hold now.
pub(super) fn written(objects: &[Object], roles: &BTreeMap<String, Measured>) -> String {
    let mut text = String::new();
    for (role, measured) in roles {
        let mut lines = String::new();
        for object in objects {
            let held = measured.held(&object.name);
            // What may be done with the whole may be done with each part.
            let of_root = object.root.as_ref().map(|root| measured.held(root)).unwrap_or_default();
            if held.is_empty() || (object.root.is_some() && held.is_subset(&of_root)) {
                continue;
            }
            let held: Vec<String> = held.iter().map(|privilege| format!("\"{privilege}\"")).collect();
            let _ = writeln!(lines, "{} = [{}]", quoted(&object.name), held.join(", "));
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{gap}[access.matrix.{}]\n{lines}", key(role));
    }
    text
}

/// The lines of `[access.matrix]` that say what each role of the project's may do now; ready to be pasted.
///
/// # Errors
/// There is no server, or the project's database cannot be built.
pub async fn measured_matrix(context: &Context) -> Result<String> {
    let survey = survey(context, None).await?;
    Ok(written(&survey.objects, &survey.by_role))
}

/// The sorts of objects that a matrix speaks of; it always speaks of relations.
pub(super) fn sorts_of<'a>(
    objects: &[Object],
    patterns: impl Iterator<Item = (&'a str, &'a [Privilege])> + Clone,
) -> BTreeSet<Sort> {
    let is_named = |object: &&Object| {
        let needs = match object.sort {
            Sort::Relation => return true,
            Sort::Sequence => &[Privilege::Usage][..],
            Sort::Routine => &[Privilege::Execute],
            Sort::Schema => &[Privilege::Usage, Privilege::Create],
        };
        patterns.clone().any(|(pattern, privileges)| {
            // A pattern of objects within a schema is not about schemas.
            (object.sort != Sort::Schema || !pattern.contains('.'))
                && is_about(pattern, object)
                && privileges.iter().any(|privilege| needs.contains(privilege))
        })
    };
    objects.iter().filter(is_named).map(|object| object.sort).collect()
}

/// Whether `pattern` is about `object`; a routine is also meant without its arguments.
pub(super) fn is_about(pattern: &str, object: &Object) -> bool {
    let bare = || object.name.split_once('(').map_or(object.name.as_str(), |(bare, _)| bare);
    matches(pattern, &object.name) || (object.sort == Sort::Routine && matches(pattern, bare()))
}
