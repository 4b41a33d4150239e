//! `operations.probes`: whether each service can read and write what it is declared to.

use super::limits::{self, Limit};
use super::target::{Target, Verb, targets};
use crate::check::live;
use crate::check::migrator::Migrator;
use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Tenancy, Verdict};
use crate::database::TestDb;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::fixture::rows::{Rows, Wish};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::time::Duration;

/// Statements of each role, on each table of its own, go through.
pub(in crate::check) struct Probes;

impl Check for Probes {
    fn id(&self) -> &'static str {
        "operations.probes"
    }

    fn summary(&self) -> &'static str {
        "each role can read and write what `[access.matrix]` declares, within its time-outs"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each role of `[access.matrix]` logs in, and reads from every table that it is declared to read, adds a \
                     made-up row where it is declared to insert, and updates and deletes where that is declared; all in \
                     transactions that are rolled back, with a tenant set where `[tenancy]` names a setting. No statement \
                     is refused for want of a privilege or by a policy, or runs into the role's own time-out. A row that a \
                     constraint or a trigger refuses says nothing, and is counted. On a live database this runs with \
                     `--probes` only, and touches no row: statements carry the condition `false`, since sequences would \
                     move on and triggers may do what no rollback takes back.",
            matters: "The grant that a migration forgot is found by the first request after the release.",
            remedy: "Grant what is declared, or mend `[access.matrix]`; of a policy, write one for the verb.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, right after the release",
            runs: "insert into orders (item) values ('a lamp')",
            gets: "permission denied for table orders",
            because: "the migration that created the table granted select alone",
            fix: "grant insert on orders to web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Matrix, Need::Schema]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.probes":
            "bad.sql", "bad_live.sql", "bad_policy.sql", "bad_slow.sql", "good.sql", "good_live.sql", "good_policy.sql",
            "good_refusing.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

/// What came of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Done,
    /// For want of a privilege, by a policy, or by a time-out.
    Refused(String),
    /// By something that has to do with the row.
    Unknown,
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    if project.live.is_some() && !project.live_probes {
        return Ok(Verdict::skipped("it is tried on a live database on request only (`--probes`)"));
    }
    let mut place = Place::of(context).await?;
    let tenant = match &project.tenancy {
        // Of a live database only the catalogs are read, and no policy is asked.
        Some(tenancy) if !place.is_live => Tenant::of(&mut place.connection, tenancy).await?,
        _ => None,
    };
    let mut maker = match place.own() {
        Some(db) => Some(Maker::of(db).await?),
        None => None,
    };
    // Whoever migrates keeps it.
    let migrator = Migrator::of(project).ok();
    let is_history = |table: &QualifiedName| migrator.as_ref().is_some_and(|one| one.is_history(table));
    let (mut findings, mut unread, mut probes, mut unknown) = (Vec::new(), Vec::new(), 0, 0);
    for (role, objects) in &project.access.matrix {
        let targets = targets(&mut place.connection, role, objects).await?;
        let password = project.roles.get(role).and_then(|role| role.password.as_ref());
        let options = match (place.own(), password) {
            (Some(db), _) => db.options_as(role),
            (None, Some(password)) => place.writable().username(role).password(password.expose()),
            (None, None) => {
                unread.push(format!("`{role}` (`[roles]` has no password of it)"));
                continue;
            }
        };
        let mut session = open(&place, &options).await?;
        let timeout = limits::in_session(&mut session).await?.get(Limit::Statement);
        let mut prober = Prober { role, tenant: tenant.as_ref(), timeout, session };
        for target in targets.iter().filter(|target| !is_history(&target.table)) {
            let (sql, row) = match &mut maker {
                Some(maker) if target.verb == Verb::Insert => match maker.row(target, tenant.as_ref()).await?
                {
                    Some((sql, row)) => (sql, Some(row)),
                    None => {
                        unknown += 1;
                        continue;
                    }
                },
                _ => (target.sql(place.is_live), None),
            };
            probes += 1;
            match prober.attempt(&sql, row.as_ref()).await? {
                Seen::Done => {}
                Seen::Unknown => unknown += 1,
                Seen::Refused(why) => {
                    let laid = row.map(|row| Evidence::as_role(&place.role, row.laying(), "true: a row"));
                    findings.push(prober.finding(target, laid, sql, &why));
                }
            }
        }
    }
    let figure = |what: &str, count: usize| Measurement::count("operations.probes", what, count);
    place.close().await;
    let verdict =
        Verdict::of(findings).with_measurements([figure("probes", probes), figure("unknown", unknown)]);
    Ok(if unread.is_empty() {
        verdict
    } else {
        verdict.with_remark(format!("nothing was tried as {}", unread.join(", ")))
    })
}

async fn open(place: &Place, options: &PgConnectOptions) -> Result<PgConnection> {
    if place.is_live { live::within_deadline(options).await } else { crate::script::connect(options).await }
}

/// The tenant in whose name everything is tried.
struct Tenant {
    setting: String,
    column: String,
    value: String,
}

impl Tenant {
    /// One that has rows.
    async fn of(connection: &mut PgConnection, tenancy: &Tenancy) -> Result<Option<Tenant>> {
        let Some(setting) = &tenancy.setting else { return Ok(None) };
        let tables: Vec<String> = sqlx::query_scalar(
            "select c.oid::regclass::text from pg_attribute a join pg_class c on c.oid = a.attrelid
             join pg_namespace n on n.oid = c.relnamespace
             where a.attname = $1 and c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
                 and has_table_privilege(c.oid, 'select')
             order by 1 limit 50",
        )
        .bind(&tenancy.column)
        .persistent(false)
        .fetch_all(&mut *connection)
        .await
        .attempt(ErrorKind::Database, || "failed to look for tables of tenants".into())?;
        for table in tables {
            let column = quote_ident(&tenancy.column);
            let sql = format!("select {column}::text from {table} where {column} is not null limit 1");
            let value: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let (setting, column) = (setting.clone(), tenancy.column.clone());
                return Ok(Some(Tenant { setting, column, value }));
            }
        }
        Ok(None)
    }
}

/// Makes rows up, as who looks after a server of our own.
struct Maker {
    control: PgConnection,
    rows: Rows,
}

impl Maker {
    async fn of(db: &TestDb) -> Result<Maker> {
        let mut control = db.connection().await?;
        let rows = Rows::read(&mut control).await?;
        Ok(Maker { control, rows })
    }

    /// The statement that adds a row, and the row; nothing where the table takes none.
    async fn row(&mut self, target: &Target, tenant: Option<&Tenant>) -> Result<Option<(String, Made)>> {
        let wish = Wish {
            only: Some(target.columns.iter().cloned().collect()),
            everywhere: tenant.map(|tenant| (tenant.column.clone(), tenant.value.clone())),
            settings: tenant
                .map(|tenant| (tenant.setting.clone(), tenant.value.clone()))
                .into_iter()
                .collect(),
            ..Wish::default()
        };
        let Ok(plan) = self.rows.rehearse(&mut self.control, &target.table, &wish).await? else {
            return Ok(None);
        };
        let json: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!("select ({})::text", plan.json)))
            .fetch_one(&mut self.control)
            .await
            .attempt(ErrorKind::Database, || "failed to put together a row".into())?;
        let sql = plan.insert(&target.table, &format!("current_setting({})::jsonb", quote_literal(ROW)));
        Ok(json.map(|json| (sql, Made { json, made: plan.json })))
    }
}

/// A row that was made up.
struct Made {
    json: String,
    /// The expression that it is the value of.
    made: String,
}

impl Made {
    /// The statement that lays it ready.
    fn laying(&self) -> String {
        format!("select set_config({}, ({})::text, false) is not null", quote_literal(ROW), self.made)
    }
}

/// The setting in which a row travels, so that no statement spells out what is in it.
const ROW: &str = "pgharness.row";

/// A session of a role that tries statements.
struct Prober<'a> {
    role: &'a str,
    tenant: Option<&'a Tenant>,
    /// When its statements end: who becomes it by SET ROLE does not have its settings.
    timeout: Option<Duration>,
    session: PgConnection,
}

impl Prober<'_> {
    fn opening(&self) -> String {
        let mut opening = format!("begin; set local lock_timeout = {}", live::LOCK_TIMEOUT.as_millis());
        if let Some(timeout) = self.timeout.filter(|timeout| !timeout.is_zero()) {
            opening.push_str(&format!("; set local statement_timeout = {}", timeout.as_millis()));
        }
        if let Some(tenant) = self.tenant {
            opening.push_str(&format!(
                "; select set_config({}, {}, true)",
                quote_literal(&tenant.setting),
                quote_literal(&tenant.value)
            ));
        }
        opening
    }

    async fn attempt(&mut self, sql: &str, row: Option<&Made>) -> Result<Seen> {
        sqlx::raw_sql(AssertSqlSafe(self.opening())).execute(&mut self.session).await?;
        if let Some(row) = row {
            sqlx::query("select set_config($1, $2, true)")
                .bind(ROW)
                .bind(&row.json)
                .execute(&mut self.session)
                .await?;
        }
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.session).await;
        self.session.execute("rollback").await?;
        match done {
            Ok(_) => Ok(Seen::Done),
            Err(error) => judge(error),
        }
    }

    fn finding(&self, target: &Target, laid: Option<Evidence>, sql: String, why: &str) -> Finding {
        let name = target.table.to_string();
        Finding {
            check: Probes.id().into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new(target.kind.clone(), name.clone()),
            message: format!("`{}` is declared to {} `{name}`, and {why}", self.role, target.verb),
            help: format!(
                "`grant {} on {} to {}`, a policy for it, or mend `[access.matrix.{}]`",
                target.verb,
                target.table.sql(),
                quote_ident(self.role),
                self.role
            ),
            evidence: laid
                .into_iter()
                .chain([
                    Evidence::as_role(self.role, self.opening(), ""),
                    Evidence::as_role(self.role, sql, why),
                    Evidence::as_role(self.role, "rollback", ""),
                ])
                .collect(),
        }
    }
}

/// What the server's no rests on.
fn judge(error: sqlx::Error) -> Result<Seen> {
    let answer = match &error {
        sqlx::Error::Database(answer) => answer.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    };
    let Some(answer) = answer else { return Err(Error::from(error)) };
    Ok(match (answer.code(), answer.routine()) {
        // By the place in the server's source: its messages are translated.
        ("42501", Some("ExecWithCheckOptions")) => {
            Seen::Refused("a policy refuses it (SQLSTATE 42501)".into())
        }
        ("42501", _) => Seen::Refused("may not (SQLSTATE 42501)".into()),
        ("57014", _) => Seen::Refused("does not end within its time-out (SQLSTATE 57014)".into()),
        _ => Seen::Unknown,
    })
}
