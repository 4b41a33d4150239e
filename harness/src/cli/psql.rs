//! `pgharness psql`: a database to look into.

use super::{Answer, block_on, check};
use crate::check::Context;
use crate::database::{Kept, Template};
use crate::error::{Error, Result};
use crate::process::Program;
use crate::report::Colour;
use crate::server::Server;
use clap::Args;
use std::ffi::OsString;
use std::time::{Duration, SystemTime};

/// Opens psql on a fresh clone of the project's database, or on a kept one.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
    /// A kept database; without it, a fresh clone, which is dropped at the end.
    #[arg(conflicts_with = "bare")]
    name: Option<String>,
    /// Lists the kept databases.
    #[arg(long)]
    list: bool,
    /// A clone without migrations and fixtures: what transcripts of migrations are pasted into.
    #[arg(long)]
    bare: bool,
    /// Connects as this role.
    #[arg(long)]
    role: Option<String>,
    /// What psql gets: `-- -c \'select 1\'`.
    #[arg(last = true)]
    psql: Vec<OsString>,
}

pub(super) fn run(arguments: &Arguments, _: Colour) -> Result<Answer> {
    let config = arguments.project.load()?;
    let context = Context::new(config.project()?).with_server(config.server()?);
    if arguments.list {
        return block_on(list(&context));
    }
    match &arguments.name {
        Some(name) => {
            let server = block_on(home_of(&context, name))?;
            open(arguments, &server, name)
        }
        None if arguments.bare => {
            let db = block_on(async { context.bare()?.get_for("pgharness psql").await })?;
            open(arguments, db.server(), db.name())
        }
        None => {
            let db = block_on(context.database())?;
            open(arguments, db.server(), db.name())
        }
    }
}

fn open(arguments: &Arguments, server: &Server, database: &str) -> Result<Answer> {
    let psql = match server.installation() {
        Some(installation) => installation.client_tool("psql")?,
        None => "psql".into(),
    };
    let role = arguments.role.as_deref().unwrap_or_else(|| server.endpoint().role());
    let url = server.endpoint().url_for(database, role);
    let status = Program::new(psql).arg(url).args(&arguments.psql).run_on_terminal()?;
    let exit_code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
    Ok(Answer { text: String::new(), exit_code })
}

/// The servers on which this project's databases live: with its roles, and without.
async fn servers(context: &Context) -> Result<Vec<Server>> {
    let plain = Template::builder(&context.project().dir).with_server(context.server()?.clone()).build();
    let (own, plain) = (context.template()?.server().await?, plain.server().await?);
    let address = |server: &Server| server.endpoint().url_for("", server.endpoint().role());
    let is_one = address(&own) == address(&plain);
    Ok(if is_one { vec![own] } else { vec![own, plain] })
}

async fn home_of(context: &Context, name: &str) -> Result<Server> {
    let mut kept = Vec::new();
    for server in servers(context).await? {
        for (database, _) in Kept::all(&server).await? {
            if database == name {
                return Ok(server);
            }
            kept.push(database);
        }
    }
    let help = match kept.as_slice() {
        [] => "none is kept: `PGHARNESS_KEEP=always` keeps those of all tests".to_owned(),
        some => format!("kept are: {}", some.join(", ")),
    };
    Err(Error::usage(format!("no database `{name}` is kept")).with_help(help))
}

async fn list(context: &Context) -> Result<Answer> {
    let mut text = String::new();
    for server in servers(context).await? {
        for (name, kept) in Kept::all(&server).await? {
            text.push_str(&format!("{name}  {:>8}  {}\n", age(kept.since), kept.test));
        }
    }
    if text.is_empty() {
        text.push_str("none is kept\n");
    }
    Ok(Answer { text, exit_code: 0 })
}

/// How long ago that was: `5 min`.
fn age(since: Option<u64>) -> String {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since.unwrap_or_default());
    let seconds = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}
