//! Ending a session at a chosen step: before it, after it, or when the server did it and the client does not know.

use super::batch::{Batches, Boundary};
use super::connection::Connection;
use super::message::{Head, Kind, Side};
use super::prepared::Prepared;
use super::tap::{Event, Tap, Verdict};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::script::mask;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection as _};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A backend that does not go within this time is reported, in milliseconds.
const TERMINATION_MS_MAX: i64 = 10_000;

/// So many steps of one session are followed at a time; a client that has more in flight does not read.
const OPEN_MAX: usize = 100_000;

/// When, about a step, its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The server has run nothing of it; what was only parsed or bound for it may have reached the server.
    Before,
    /// The server has done it, and the client has heard nothing of that.
    Unheard,
    /// The client has heard all of the answer.
    After,
}

impl Moment {
    /// All of them, in the order of time.
    pub const ALL: [Moment; 3] = [Moment::Before, Moment::Unheard, Moment::After];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Before => "before",
            Moment::Unheard => "done but unheard",
            Moment::After => "after",
        })
    }
}

/// Where a cut landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The session, counted from 0 in the order in which they came to the proxy.
    pub session: u64,
    /// The step, counted from 0 over all sessions of the proxy.
    pub step: u64,
    /// When, about that step.
    pub moment: Moment,
    /// What the step runs, without its values; empty if the client prepared it before the proxy could see it.
    pub sql: String,
    /// The server's process.
    pub pid: Option<i32>,
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}, {} step {}: {}", self.session, self.moment, self.step, self.sql)
    }
}

/// Ends one session at one step of the sessions of a proxy, once. Whoever connects again is left in peace.
///
/// Steps are counted from 0 over all sessions in the order in which they reach the server, so `k` means the same in
/// every run of a client that does the same. To cut everywhere, begin at 0 and go on until a cut does not
/// [land](Cut::landing): the client has no such step.
///
/// What a step is, [`Boundary`] says. A step that ends with `Flush` is done inside a transaction that stays open.
/// Several statements in one simple query are one step.
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
        Cut::new(step, moment, None)
    }

    /// Ends the server's process instead, with `pg_terminate_backend`, and waits until it is gone. The client hears the
    /// server's `57P01`. `control` leads to the server directly, as a role that may do that.
    pub fn backend_at(step: u64, moment: Moment, control: PgConnectOptions) -> Cut {
        Cut::new(step, moment, Some(control))
    }

    fn new(step: u64, moment: Moment, control: Option<PgConnectOptions>) -> Cut {
        Cut(Arc::new(Shared { step, moment, control, begun: AtomicU64::new(0), landing: Mutex::new(None) }))
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
    /// The backend could not be ended.
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
        if state.batches.begins(head) {
            let step = self.shared.begun.fetch_add(1, Ordering::SeqCst);
            if step == self.shared.step {
                state.sql = sql.map(|sql| mask(&sql)).unwrap_or_default();
                if self.shared.moment == Moment::Before {
                    return Action::Sever(Verdict::Drop);
                }
            }
            if state.open.len() < OPEN_MAX {
                state.open.push_back(step);
            }
        }
        let boundary = state.batches.frontend(head);
        self.ended(state, boundary).unwrap_or(Action::Give(Verdict::Pass))
    }

    fn backend(&self, head: &Head) -> Action {
        let state = &mut *lock(&self.state);
        if state.is_severed {
            // What a backend says of its end.
            return Action::Give(Verdict::Pass);
        }
        state.pid = state.pid.or(head.pid());
        let is_chosen = state.open.front() == Some(&self.shared.step);
        let boundary = state.batches.backend(head);
        if let Some(action) = self.ended(state, boundary) {
            return action;
        }
        // The client answers these: without them the server would wait for it.
        let asks = matches!(head.kind(), Kind::CopyIn | Kind::CopyBoth);
        let is_hidden = is_chosen && self.shared.moment == Moment::Unheard && !asks;
        Action::Give(if is_hidden { Verdict::Drop } else { Verdict::Pass })
    }

    /// What becomes of the message that ends a step, if it is the chosen one.
    fn ended(&self, state: &mut State, boundary: Option<Boundary>) -> Option<Action> {
        let (Boundary::Ready { ran, .. } | Boundary::Flushed { ran }) = boundary?;
        if !ran || state.open.pop_front() != Some(self.shared.step) {
            return None;
        }
        Some(Action::Sever(match self.shared.moment {
            Moment::After => Verdict::Pass,
            Moment::Before | Moment::Unheard => Verdict::Drop,
        }))
    }

    /// Ends the session; `verdict` is for the message at hand.
    async fn sever(&self, verdict: Verdict) -> Verdict {
        let landing = {
            let mut state = lock(&self.state);
            state.is_severed = true;
            Landing {
                session: self.session,
                step: self.shared.step,
                moment: self.shared.moment,
                sql: state.sql.clone(),
                pid: state.pid,
            }
        };
        let pid = landing.pid;
        // Before the end itself: with the server's end this session ends, and this future with it.
        *lock(&self.shared.landing) = Some(Ok(landing));
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
