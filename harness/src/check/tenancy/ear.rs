//! A session that listens: what functions send, every role may hear.

use super::attack::Attack;
use super::canary;
use super::roles::listed;
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::postgres::PgListener;
use std::collections::{BTreeMap, BTreeSet};

/// The channel that says that all has been heard.
const END: &str = "pgharness_end";

/// A session of a role that listens to whatever functions seem to send.
pub(super) struct Ear {
    role: String,
    listener: PgListener,
}

impl Ear {
    /// Listens to the channels that functions name, and to those that are called like a table.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub(super) async fn open(attack: &mut Attack, role: &str) -> Result<Ear> {
        let mut channels: Vec<String> = sqlx::query_scalar(
            "select distinct left(m[1], 63) from (
                select p.prosrc || ' ' || coalesce(pg_get_function_sqlbody(p.oid), '') as body
                from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and p.prokind in ('f', 'p')
            ) f, lateral (
                select m from regexp_matches(body, '''([^'']{1,63})''', 'g') m
                union all select m from regexp_matches(body, 'notify\\s+\"?(\\w+)', 'gi') m
            ) mentioned
            where body ~* 'notify' order by 1 limit 200",
        )
        .fetch_all(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to look for the channels of notifications".into())?;
        channels.extend(attack.relations.iter().map(|relation| relation.name.name.clone()));
        channels.push(END.to_owned());
        let pool = TestDb::pool_options().connect_lazy_with(attack.options_of(role));
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen_all(channels.iter().map(String::as_str)).await?;
        Ok(Ear { role: attack.login_of(role).to_owned(), listener })
    }

    /// What was heard of `planted` canaries.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn heard(
        &mut self,
        attack: &mut Attack,
        planted: &BTreeMap<usize, QualifiedName>,
    ) -> Result<Vec<Finding>> {
        sqlx::query("select pg_notify($1, '')").bind(END).execute(&mut attack.control).await?;
        let mut channels: BTreeMap<String, BTreeSet<QualifiedName>> = BTreeMap::new();
        loop {
            let heard = self.listener.recv().await?;
            if heard.channel() == END {
                break;
            }
            for (number, table) in planted {
                if canary::is_told(*number, heard.payload()) {
                    channels.entry(heard.channel().to_owned()).or_default().insert(table.clone());
                }
            }
        }
        let mut findings = Vec::new();
        for (channel, tables) in channels {
            let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
            let listen = format!("listen {}", quote_ident(&channel));
            let mut evidence = vec![Evidence::as_role(&self.role, listen, "done")];
            evidence.extend(attack.steps_for(tables));
            evidence.push(Evidence::step("the session that listens", "a notification with what was written"));
            findings.push(Finding {
                check: attack.check.into(),
                class: Class::TrustBoundary,
                severity: Severity::Warning,
                subject: Subject::new("channel", &channel),
                message: format!(
                    "whoever listens to `{channel}` hears what another tenant wrote into {}: every role may",
                    listed(&names)
                ),
                help: "send the key of the row and let who hears it read the row, which asks the policies"
                    .into(),
                evidence,
            });
        }
        Ok(findings)
    }
}
