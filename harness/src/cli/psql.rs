//! `pgharness psql`: a database to look into.

use super::{Answer, block_on, check};
use crate::check::Context;
use crate::database::{Keepsake, Kept};
use crate::error::{Error, Result};
use crate::process::Program;
use crate::report::Colour;
use crate::server::{Server, ServerConfig, ServerSource};
use clap::Args;
use std::ffi::OsString;
use std::time::Duration;

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
    if let Some(name) = &arguments.name {
        let server = home_of(&arguments.project, name)?;
        return open(arguments, &server, name);
    }
    if arguments.list {
        return list(&arguments.project);
    }
    let context = context(&arguments.project)?;
    let db = match arguments.bare {
        true => block_on(async { context.bare()?.get_for("pgharness psql").await })?,
        false => block_on(context.database())?,
    };
    open(arguments, db.server(), db.name())
}

fn context(project: &check::Project) -> Result<Context> {
    let config = project.load()?;
    Ok(Context::new(config.project()?).with_server(config.server()?))
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

/// The server on which the database is kept, started again if it has stopped. Names are unique, so it is found
/// from any folder, whatever its template and the project's configuration.
fn home_of(project: &check::Project, name: &str) -> Result<Server> {
    let noted = Keepsake::all()?;
    let Some(keepsake) = noted.iter().find(|keepsake| keepsake.name() == name) else {
        return elsewhere(project, name, &noted);
    };
    let Some(server) = keepsake.server()? else {
        return Err(Error::usage(format!("database `{name}` is gone with the data of its server"))
            .with_help(GONE_HELP));
    };
    if !block_on(Kept::all(&server))?.iter().any(|(kept, _)| kept == name) {
        return Err(Error::usage(format!("database `{name}` was kept, and has been dropped since")));
    }
    Ok(server)
}

/// When a kept database does not outlive its server.
const GONE_HELP: &str = "data stay only after a clean stop: not when the server is killed or crashes, not over a \
    restart of the machine, not beyond 1 GiB or 7 days, and of the 8 servers that kept some last";

/// The server that the project names, if the database is kept there: nothing is noted of what others run.
fn elsewhere(project: &check::Project, name: &str, noted: &[Keepsake]) -> Result<Server> {
    let context = context(project)?;
    let mut kept: Vec<String> = of_workspace(noted, context.server()?).map(|one| one.name().into()).collect();
    if !is_ours(context.server()?) {
        let server = block_on(template_server(&context))?;
        let there = block_on(Kept::all(&server))?.into_iter().map(|(database, _)| database);
        kept.extend(there);
        if kept.iter().any(|database| database == name) {
            return Ok(server);
        }
    }
    let help = match kept.as_slice() {
        [] => "none is kept: `PGHARNESS_KEEP=always` keeps those of all tests".to_owned(),
        some => format!("kept are: {}", some.join(", ")),
    };
    Err(Error::usage(format!("no database `{name}` is kept")).with_help(help))
}

/// What was kept for tests of the workspace of `server`.
fn of_workspace<'a>(all: &'a [Keepsake], server: &'a ServerConfig) -> impl Iterator<Item = &'a Keepsake> {
    all.iter().filter(|keepsake| keepsake.workspace() == server.workspace)
}

/// Whether the harness starts and stops it, and notes what is kept on it.
fn is_ours(server: &ServerConfig) -> bool {
    matches!(server.source, ServerSource::Embedded)
}

async fn template_server(context: &Context) -> Result<Server> {
    context.template()?.server().await
}

fn list(project: &check::Project) -> Result<Answer> {
    let server = project.load()?.server()?;
    let mut text = String::new();
    for keepsake in of_workspace(&Keepsake::all()?, &server) {
        let outcome = if keepsake.is_there() { "" } else { "  (gone with the data of its server)" };
        text.push_str(&line(keepsake.name(), keepsake.kept(), outcome));
    }
    if !is_ours(&server) {
        let server = block_on(template_server(&context(project)?))?;
        for (name, kept) in block_on(Kept::all(&server))? {
            text.push_str(&line(&name, &kept, ""));
        }
    }
    if text.is_empty() {
        text.push_str("none is kept\n");
    }
    Ok(Answer { text, exit_code: 0 })
}

fn line(name: &str, kept: &Kept, outcome: &str) -> String {
    format!("{name}  {:>8}  {}{outcome}\n", age(kept.age()), kept.test)
}

/// How long ago that was: `5 min`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}
