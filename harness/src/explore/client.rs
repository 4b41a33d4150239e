//! A client: an async closure in this process, or a program.

use super::access::Access;
use super::outcome::Outcome;
use crate::error::{Attempt, ErrorKind, Result};
use crate::process::{Program, Running};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;
use tokio::task::{JoinError, JoinHandle, spawn_local};

/// Why a client or an invariant failed: any error, so that `?` takes those of every library.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

type Task<T> = Arc<dyn Fn(Access) -> LocalBoxFuture<'static, Result<T, Failure>> + Send + Sync>;
type Launch = Arc<dyn Fn(&Access) -> Program + Send + Sync>;

/// What a client does.
pub(super) enum Work<T> {
    Task(Task<T>),
    Program(Launch),
}

impl<T: 'static> Work<T> {
    pub(super) fn task<F>(run: F) -> Work<T>
    where
        F: AsyncFn(Access) -> Result<T, Failure> + Send + Sync + 'static,
    {
        let run = Arc::new(run);
        Work::Task(Arc::new(move |access| {
            let run = run.clone();
            Box::pin(async move { run(access).await })
        }))
    }

    pub(super) fn is_program(&self) -> bool {
        matches!(self, Work::Program(_))
    }

    /// Sets it going.
    pub(super) fn start(&self, access: Access) -> Result<Doing<T>> {
        Ok(match self {
            Work::Task(run) => Doing::Task(spawn_local(run(access))),
            Work::Program(launch) => {
                let output = tempfile::tempfile()
                    .attempt(ErrorKind::Environment, || "failed to create a temporary file".into())?;
                let copy = output
                    .try_clone()
                    .attempt(ErrorKind::Environment, || "failed to copy a descriptor".into())?;
                let program = launch(&access).env("DATABASE_URL", access.url()).output(copy).ends_with_us();
                Doing::Program(program.start()?, output)
            }
        })
    }
}

/// A client at work.
pub(super) enum Doing<T> {
    Task(JoinHandle<Result<T, Failure>>),
    Program(Running, File),
    Ended(Outcome<T>),
}

impl<T> Doing<T> {
    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        let outcome = match self {
            Doing::Ended(_) => return Ok(true),
            Doing::Task(task) => match task.is_finished() {
                true => task.now_or_never().map(of_task),
                false => None,
            },
            Doing::Program(running, output) => match running.try_status()? {
                Some(status) => {
                    let mut text = Vec::new();
                    output
                        .rewind()
                        .and_then(|()| output.read_to_end(&mut text))
                        .attempt(ErrorKind::Environment, || "failed to read a program's output".into())?;
                    Some(Outcome::Exited(status, String::from_utf8_lossy(&text).into_owned()))
                }
                None => None,
            },
        };
        let has_ended = outcome.is_some();
        if let Some(outcome) = outcome {
            *self = Doing::Ended(outcome);
        }
        Ok(has_ended)
    }

    /// Stops it.
    pub(super) fn stop(&mut self) {
        match self {
            Doing::Ended(_) => {}
            Doing::Task(task) => {
                task.abort();
                *self = Doing::Ended(Outcome::Stuck);
            }
            // Dropping it kills it.
            Doing::Program(..) => *self = Doing::Ended(Outcome::Stuck),
        }
    }

    /// What came of it; one that has not ended is stopped.
    pub(super) fn finish(self) -> Outcome<T> {
        match self {
            Doing::Ended(outcome) => outcome,
            Doing::Task(_) | Doing::Program(..) => Outcome::Stuck,
        }
    }
}

fn of_task<T>(joined: Result<Result<T, Failure>, JoinError>) -> Outcome<T> {
    match joined {
        Ok(Ok(value)) => Outcome::Returned(value),
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => Outcome::Panicked(panic_text(&*payload)),
            Err(_) => Outcome::Stuck,
        },
    }
}

/// What somebody panicked with.
pub(super) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("something that is no text").to_owned()
}
