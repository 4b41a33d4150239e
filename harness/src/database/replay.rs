//! What `CREATE DATABASE … TEMPLATE` loses: the settings of the database, those of roles within it, and its
//! privileges. They are read from the template once and replayed on every clone before it is handed out.

use crate::error::Result;
use crate::ident::{quote_ident, quote_literal};
use sqlx::PgConnection;

/// The statements that make a clone equal its template, with a gap for the clone's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
struct Statement {
    before: String,
    after: String,
}

impl Replay {
    /// Reads what the database `template` has beyond its contents.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn read(control: &mut PgConnection, template: &str) -> Result<Replay> {
        let mut statements = Vec::new();
        let settings: Vec<(Option<String>, String)> = sqlx::query_as(
            "select r.rolname::text, setting
             from pg_db_role_setting s
             join pg_database d on d.oid = s.setdatabase
             left join pg_roles r on r.oid = s.setrole
             cross join unnest(s.setconfig) with ordinality as c (setting, place)
             where d.datname = $1
             order by r.rolname nulls first, place",
        )
        .bind(template)
        .fetch_all(&mut *control)
        .await?;
        for (role, setting) in settings {
            let Some((name, value)) = setting.split_once('=') else { continue };
            let value = if is_quoted_list(name) { value.to_owned() } else { quote_literal(value) };
            let assignment = format!(" set {} to {value}", quote_setting(name));
            statements.push(match role {
                Some(role) => Statement {
                    before: format!("alter role {} in database ", quote_ident(&role)),
                    after: assignment,
                },
                None => Statement { before: "alter database ".into(), after: assignment },
            });
        }
        statements.extend(privileges(control, template).await?);
        Ok(Replay { statements })
    }

    /// The statements for `clone`.
    pub(crate) fn sql(&self, clone: &str) -> impl Iterator<Item = String> {
        let clone = quote_ident(clone);
        self.statements.iter().map(move |Statement { before, after }| format!("{before}{clone}{after}"))
    }
}

/// The database's own access list; `None` where it is the default.
async fn privileges(control: &mut PgConnection, template: &str) -> Result<Vec<Statement>> {
    let grants: Vec<(Option<String>, String, bool)> = sqlx::query_as(
        "select case when a.grantee = 0 then null else pg_get_userbyid(a.grantee)::text end, a.privilege_type, a.is_grantable
         from pg_database d cross join lateral aclexplode(d.datacl) a
         where d.datname = $1
         order by 1 nulls first, 2",
    )
    .bind(template)
    .fetch_all(&mut *control)
    .await?;
    let (has_list, owner): (bool, String) = sqlx::query_as(
        "select datacl is not null, pg_get_userbyid(datdba)::text from pg_database where datname = $1",
    )
    .bind(template)
    .fetch_one(control)
    .await?;
    if !has_list {
        return Ok(Vec::new());
    }
    // A clone starts with the default list: everything for its owner, CONNECT and TEMPORARY for everybody.
    let mut statements = Vec::new();
    for grantee in ["public".to_owned(), quote_ident(&owner)] {
        statements
            .push(Statement { before: "revoke all on database ".into(), after: format!(" from {grantee}") });
    }
    for (grantee, privilege, is_grantable) in grants {
        let grantee = grantee.map_or("public".to_owned(), |role| quote_ident(&role));
        let option = if is_grantable { " with grant option" } else { "" };
        statements.push(Statement {
            before: format!("grant {privilege} on database "),
            after: format!(" to {grantee}{option}"),
        });
    }
    Ok(statements)
}

/// Parameters whose stored value is a list that is quoted already: quoted once more it would be one name.
fn is_quoted_list(name: &str) -> bool {
    matches!(
        name.to_ascii_lowercase().as_str(),
        "local_preload_libraries"
            | "search_path"
            | "session_preload_libraries"
            | "shared_preload_libraries"
            | "temp_tablespaces"
            | "unix_socket_directories"
    )
}

/// A parameter's name may have a dot between its parts.
fn quote_setting(name: &str) -> String {
    name.split('.').map(quote_ident).collect::<Vec<_>>().join(".")
}
