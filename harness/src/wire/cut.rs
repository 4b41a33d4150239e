//! Ending a session at a chosen step: before it, after it, or when the server did it and the client does not know.

use super::batch::{Batches, Boundary};
use super::connection::Connection;
use super::framing::HEAD_MAX;
use super::halt::{Halt, Heard, SCRIPT_MAX};
use super::landing::{Landing, Moment};
use super::message::{Head, Kind, Side};
use super::prepared::Prepared;
use super::tap::{Event, Tap, Verdict};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::script::mask;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection as _};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A backend that does not go within this time is reported, in milliseconds.
const TERMINATION_MS_MAX: i64 = 10_000;

/// So many steps of one session are followed at a time; a client that has more in flight does not read.
const OPEN_MAX: usize = 100_000;

/// Ends one session at one step of the sessions of a proxy, once. Whoever connects again is left in peace.
///
/// Steps are counted from 0 over all sessions in the order in which they reach the server, so `k` means the same in
/// every run of a client that does the same. To cut everywhere, begin at 0 and go on until a cut does not
/// [land](Cut::landing): the client has no such step.
///
/// What a step is, [`Boundary`] says. A step that ends with `Flush` is done inside a transaction that stays open.
/// Several statements in one simple query are one step; [`Cut::within`] ends a session between them.
///
/// ```
/// use pgharness::wire::{Address, Cut, Moment, Proxy};
/// use pgharness::{Template, sqlx, template};
/// use sqlx::{ConnectOptions, Executor};
///
/// static APP: Template = template! {};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgharness::Result<()> {
/// let db = APP.get().await?;
/// let cut = Cut::at(1, Moment::Unheard);
/// let proxy = Proxy::start(Address::of(&db.options()), cut.taps()).await?;
/// let mut client = proxy.options(&db.options()).connect().await?;
/// client.execute("create table t (n int)").await?;
/// assert!(client.execute("insert into t values (42)").await.is_err());
/// assert_eq!(cut.landing()?.unwrap().sql, "insert into t values (?)");
/// let count: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut db.options().connect().await?).await?;
/// assert_eq!(count, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cut(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    step: u64,
    /// The statement within the step, if the cut is about one.
    statement: Option<u64>,
    moment: Moment,
    /// Where to ask for the end of a backend; the connection is ended if there is none.
    control: Option<PgConnectOptions>,
    /// Steps that reached the server, or would have.
    begun: AtomicU64,
    landing: Mutex<Option<std::result::Result<Landing, String>>>,
}

impl Cut {
    /// Ends the client's connection to the proxy, and the proxy's to the server, at step `step`.
    pub fn at(step: u64, moment: Moment) -> Cut {
        Cut::new(step, None, moment, None)
    }

    /// Ends the server's process instead, with `pg_terminate_backend`, and waits until it is gone. The client hears the
    /// server's `57P01`. `control` leads to the server directly, as a role that may do that.
    pub fn backend_at(step: u64, moment: Moment, control: PgConnectOptions) -> Cut {
        Cut::new(step, None, moment, Some(control))
    }

    /// Ends the server's process within a step that is a simple query of several statements: before its statement with
    /// this number, counted from 0, or after it. What the statements before it did that is not committed by one of them
    /// goes with the process. To cut everywhere, begin at 0 and go on until a cut does not [land](Cut::landing): the
    /// step has no such statement, or only one.
    ///
    /// The server is sent the query up to there, and a block of PL/pgSQL behind it that waits for its end. That the
    /// statements are those that the server sees is held against its own answers; and a script of which the server
    /// refuses all, for a later statement that does not parse, is begun here.
    pub fn within(step: u64, statement: u64, moment: Moment, control: PgConnectOptions) -> Cut {
        Cut::new(step, Some(statement), moment, Some(control))
    }

    fn new(step: u64, statement: Option<u64>, moment: Moment, control: Option<PgConnectOptions>) -> Cut {
        let (begun, landing) = (AtomicU64::new(0), Mutex::new(None));
        Cut(Arc::new(Shared { step, statement, moment, control, begun, landing }))
    }

    /// Makes the taps, for [`Proxy::start`](super::Proxy::start).
    pub fn taps(&self) -> impl Fn(&Connection) -> CutTap + Send + Sync + 'static {
        let shared = self.0.clone();
        move |connection| CutTap {
            shared: shared.clone(),
            session: connection.number,
            state: Mutex::new(State::default()),
        }
    }

    /// Where it landed; `None` if no client has come so far.
    ///
    /// # Errors
    /// The backend could not be ended, or not where it was to be.
    pub fn landing(&self) -> Result<Option<Landing>> {
        match &*lock(&self.0.landing) {
            None => Ok(None),
            Some(Ok(landing)) => Ok(Some(landing.clone())),
            Some(Err(why)) => Err(Error::new(ErrorKind::Server, why)),
        }
    }

    /// How many steps have begun so far, with the one that was cut.
    pub fn steps(&self) -> u64 {
        self.0.begun.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks on at one session for a [`Cut`].
#[derive(Debug)]
pub struct CutTap {
    shared: Arc<Shared>,
    session: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    batches: Batches,
    prepared: Prepared,
    /// The steps that the server is at, in their order.
    open: VecDeque<u64>,
    /// What the chosen step runs.
    sql: String,
    pid: Option<i32>,
    /// Whether a backslash escapes in plain strings.
    escapes: bool,
    /// How the chosen step goes, if it is to halt within.
    halt: Option<Halt>,
    /// The backend was ended, or is about to be: nothing more goes there.
    is_severed: bool,
}

/// What is to be done with a message.
enum Action {
    Give(Verdict),
    /// End the session; of the message that brought it there, this becomes.
    Sever(Verdict),
}

impl CutTap {
    fn frontend(&self, head: &Head) -> Action {
        let state = &mut *lock(&self.state);
        if state.is_severed {
            return Action::Give(Verdict::Drop);
        }
        let sql = state.prepared.frontend(head);
        let mut replaced = None;
        if state.batches.begins(head) {
            let step = self.shared.begun.fetch_add(1, Ordering::SeqCst);
            if step == self.shared.step {
                state.sql = sql.map(|sql| mask(&sql)).unwrap_or_default();
                match self.shared.statement {
                    Some(statement) => replaced = self.halt(state, statement, head),
                    None if self.shared.moment == Moment::Before => return Action::Sever(Verdict::Drop),
                    None => {}
                }
            }
            if state.open.len() < OPEN_MAX {
                state.open.push_back(step);
            }
        }
        let boundary = state.batches.frontend(head);
        let verdict = replaced.map_or(Verdict::Pass, Verdict::Replace);
        self.ended(state, boundary).unwrap_or(Action::Give(verdict))
    }

    /// What goes to the server in place of the chosen step, if it has such a statement.
    fn halt(&self, state: &mut State, statement: u64, head: &Head) -> Option<Head> {
        if head.kind() != Kind::Query {
            return None;
        }
        let about = match state.escapes {
            false => Halt::about(head, statement, self.shared.moment),
            true => {
                Err("the session has `standard_conforming_strings` off: its statements are not told apart"
                    .into())
            }
        };
        match about {
            Ok(about) => {
                let (halt, head) = about?;
                state.halt = Some(halt);
                Some(head)
            }
            Err(why) => {
                *lock(&self.shared.landing) = Some(Err(why));
                None
            }
        }
    }

    fn backend(&self, head: &Head) -> Action {
        let state = &mut *lock(&self.state);
        if state.is_severed {
            // What a backend says of its end.
            return Action::Give(Verdict::Pass);
        }
        state.pid = state.pid.or(head.pid());
        state.escapes = head.escapes().unwrap_or(state.escapes);
        let is_chosen = state.open.front() == Some(&self.shared.step);
        let boundary = state.batches.backend(head);
        if let Some(action) = self.ended(state, boundary) {
            return action;
        }
        if self.shared.statement.is_some() {
            return match state.halt.as_mut().filter(|_| is_chosen).map(|halt| halt.hear(head)) {
                Some(Heard::Arrived) => Action::Sever(Verdict::Drop),
                Some(Heard::Hidden) => Action::Give(Verdict::Drop),
                Some(Heard::Open) | None => Action::Give(Verdict::Pass),
            };
        }
        // The client answers these: without them the server would wait for it.
        let asks = matches!(head.kind(), Kind::CopyIn | Kind::CopyBoth);
        let is_hidden = is_chosen && self.shared.moment == Moment::Unheard && !asks;
        Action::Give(if is_hidden { Verdict::Drop } else { Verdict::Pass })
    }

    /// What becomes of the message that ends a step, if it is the chosen one.
    fn ended(&self, state: &mut State, boundary: Option<Boundary>) -> Option<Action> {
        let (Boundary::Ready { ran, .. } | Boundary::Flushed { ran }) = boundary?;
        if !ran || state.open.pop_front() != Some(self.shared.step) || self.shared.statement.is_some() {
            return None;
        }
        Some(Action::Sever(match self.shared.moment {
            Moment::After => Verdict::Pass,
            Moment::Before | Moment::Unheard => Verdict::Drop,
        }))
    }

    /// Ends the session; `verdict` is for the message at hand.
    async fn sever(&self, verdict: Verdict) -> Verdict {
        let (landing, strayed) = {
            let mut state = lock(&self.state);
            state.is_severed = true;
            let strayed = state.halt.as_ref().and_then(Halt::strayed);
            let landing = Landing {
                session: self.session,
                step: self.shared.step,
                statement: self.shared.statement,
                moment: self.shared.moment,
                sql: state.sql.clone(),
                pid: state.pid,
            };
            (landing, strayed)
        };
        let pid = landing.pid;
        // Before the end itself: with the server's end this session ends, and this future with it.
        *lock(&self.shared.landing) = Some(strayed.map_or(Ok(landing), Err));
        let Some(control) = &self.shared.control else {
            return if verdict == Verdict::Pass { Verdict::Last } else { Verdict::Cut };
        };
        if let Err(error) = terminate(control, pid).await {
            *lock(&self.shared.landing) = Some(Err(error.report_without_help()));
        }
        verdict
    }
}

/// Ends a backend, and waits until it is gone.
async fn terminate(control: &PgConnectOptions, pid: Option<i32>) -> Result<()> {
    let Some(pid) = pid else {
        return Err(Error::new(
            ErrorKind::Server,
            "failed to end a backend: the server did not name its process",
        ));
    };
    let attempt = || format!("failed to end the backend {pid}");
    let mut connection = control.connect().await.attempt(ErrorKind::Server, attempt)?;
    let is_gone: bool = sqlx::query_scalar("select pg_terminate_backend($1, $2)")
        .bind(pid)
        .bind(TERMINATION_MS_MAX)
        .fetch_one(&mut connection)
        .await
        .attempt(ErrorKind::Server, attempt)?;
    connection.close().await.attempt(ErrorKind::Server, attempt)?;
    if !is_gone {
        return Err(Error::new(
            ErrorKind::Server,
            format!("{}: it is still there after {TERMINATION_MS_MAX} ms", attempt()),
        ));
    }
    Ok(())
}

impl Tap for CutTap {
    fn head_max(&self) -> usize {
        if self.shared.statement.is_some() { SCRIPT_MAX } else { HEAD_MAX }
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        let Event::Message(head) = event else { return Verdict::Pass };
        let action = match from {
            Side::Frontend => self.frontend(head),
            Side::Backend => self.backend(head),
        };
        match action {
            Action::Give(verdict) => verdict,
            Action::Sever(verdict) => self.sever(verdict).await,
        }
    }
}
