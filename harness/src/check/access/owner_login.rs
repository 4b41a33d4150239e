//! `access.owner-login`: services that connect as the owner of their tables.

use super::roles;
use crate::check::attempt::{Attempt, attempt, prepare, transcript};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::{Class, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident};
use crate::server::Capability;

/// No service connects as the owner of tables, or as who can become it.
pub(in crate::check) struct OwnerLogin;

const ID: &str = "access.owner-login";

impl Check for OwnerLogin {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "no service connects as the owner of tables, or as who can become it"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No role that `[roles]`, `[tenancy]` or `[access.matrix]` names, but the one that migrates, owns a \
                     table or can become its owner. Where one does, it logs in and drops the table, which is undone.",
            matters: "To an owner, privileges are what it leaves itself: it disables triggers and policies, grants, alters \
                      and drops. Whatever keeps rows apart or final holds only against mistakes then, and an injected \
                      statement can do what a migration can.",
            remedy: "Let tables belong to a role that nobody logs in as, let the role that migrates be its member, and \
                     grant services what they need. `reassign owned by … to …` moves what is there.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, with a statement that somebody injected",
            runs: "drop table orders",
            gets: "no orders",
            because: "the service migrates its own tables, and so owns them",
            fix: "alter table orders owner to app_owner; grant select, insert, update on orders to web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::OWNER_LOGIN
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const OWNED: &str = "
    select o.rolname::text as owner, n.nspname::text as schema, c.relname::text as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_roles o on o.oid = c.relowner join pg_catalog.pg_roles r on r.rolname = $1
    where c.relkind in ('r', 'p') and not c.relispartition and c.oid >= 16384 and n.nspname !~ '^pg_'
        and not r.rolsuper and pg_catalog.pg_has_role(r.oid, o.oid, 'member')
    order by 1, 2, 3";

async fn run(context: &Context) -> Result<Verdict> {
    let services = roles::services(context.project());
    if services.is_empty() {
        return Ok(Verdict::skipped("needs `[roles]` or `tenancy.roles`: which roles services connect as"));
    }
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let known = roles::known(&mut control).await?;
    prepare(&mut control).await?;
    let mut findings = Vec::new();
    for role in roles::named(&known, services)? {
        let owned: Vec<(String, String, String)> = sqlx::query_as(OWNED)
            .bind(&role.name)
            .fetch_all(&mut control)
            .await
            .attempt(ErrorKind::Database, || format!("failed to list what `{}` owns", role.name))?;
        let mut owners: Vec<&String> = owned.iter().map(|(owner, ..)| owner).collect();
        owners.dedup();
        for owner in owners {
            let tables: Vec<QualifiedName> = owned
                .iter()
                .filter(|(of, ..)| of == owner)
                .map(|(_, schema, name)| QualifiedName::new(schema, name))
                .collect();
            let Some(first) = tables.first() else { continue };
            let become_it = (*owner != role.name).then(|| format!("set local role {}", quote_ident(owner)));
            let drop = format!("drop table {} cascade", first.sql());
            let whole = become_it.iter().chain([&drop]).cloned().collect::<Vec<_>>().join("; ");
            let mut session = roles::session(&db, &role).await?;
            let answers = attempt(&mut session, &[Attempt { sql: whole, watched: None }]).await?;
            let Some(answer) = answers.first() else { continue };
            let how = if *owner == role.name {
                "owns".to_owned()
            } else {
                format!("can become `{owner}`, which owns")
            };
            let count = tables.len();
            let what =
                if count == 1 { format!("`{first}`") } else { format!("{count} tables, such as `{first}`") };
            findings.push(Finding {
                check: ID.into(),
                class: Class::Mistake,
                severity: Severity::Warning,
                subject: Subject::new("role", role.name.clone()),
                message: format!("`{}`, which a service connects as, {how} {what}", role.name),
                help: "let them belong to a role that nobody logs in as: `reassign owned by … to …`".into(),
                evidence: transcript(&role.name, become_it.into_iter().collect(), &drop, answer.to_string()),
            });
        }
    }
    Ok(Verdict::of(findings))
}
