//! What goes wrong between a client and its server: delay, a narrow line, a reset, silence, a lost answer, a stall.

use super::connection::Connection;
use super::message::{Head, Kind, Side};
use super::tap::{Event, Tap, Verdict};
use crate::wait;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// From when on the server says nothing more. The client's messages still go to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// From the start: the connection is accepted, and that is all.
    FromStart,
    /// After the handshake: the session is ready, and answers nothing.
    AfterHandshake,
}

#[derive(Clone, Debug, Default)]
struct Plan {
    latency: Duration,
    bytes_per_second: Option<u64>,
    reset: Option<(Side, u64)>,
    silence: Option<Silence>,
    lost_commit: Option<u64>,
}

/// Faults of all sessions of a proxy. Nothing in it is random: the same client meets the same faults.
///
/// In a pair of taps it goes first: what another tap leaves out has arrived here too.
///
/// ```
/// use pgharness::wire::{Address, Faults, Proxy};
/// use pgharness::{Template, sqlx, template};
/// use sqlx::{ConnectOptions, Executor};
///
/// static APP: Template = template! {};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgharness::Result<()> {
/// let db = APP.get().await?;
/// let faults = Faults::default().with_lost_commit(0);
/// let proxy = Proxy::start(Address::of(&db.options()), faults.taps()).await?;
/// let mut client = proxy.options(&db.options()).connect().await?;
/// client.execute("begin").await?;
/// client.execute("create table t (n int)").await?;
/// assert!(client.execute("commit").await.is_err());
/// db.options().connect().await?.execute("select from t").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Plan,
    live: Arc<Live>,
}

#[derive(Debug)]
struct Live {
    commits: AtomicU64,
    is_stalled: watch::Sender<bool>,
}

impl Default for Live {
    fn default() -> Live {
        Live { commits: AtomicU64::new(0), is_stalled: watch::Sender::new(false) }
    }
}

impl Faults {
    /// Every message takes so long each way. Those under way at the same time do not wait for one another.
    #[must_use]
    pub fn with_latency(mut self, one_way: Duration) -> Faults {
        self.plan.latency = one_way;
        self
    }

    /// Each session carries so many bytes a second each way. A message goes on when the time for all of it has passed.
    #[must_use]
    pub fn with_bandwidth(mut self, bytes_per_second: u64) -> Faults {
        self.plan.bytes_per_second = Some(bytes_per_second.max(1));
        self
    }

    /// Every session ends on both sides, without a word, where the message `number` of `side` would go on; counted from
    /// 0, behind the start-up packet. By TCP that is a reset, and what is under way is lost; a unix socket has none, and
    /// closes.
    #[must_use]
    pub fn with_reset(mut self, side: Side, number: u64) -> Faults {
        self.plan.reset = Some((side, number));
        self
    }

    /// The server says nothing more, and its end is not heard of either.
    #[must_use]
    pub fn with_silence(mut self, silence: Silence) -> Faults {
        self.plan.silence = Some(silence);
        self
    }

    /// The answer to the `COMMIT` with this number, counted from 0 over all sessions, is lost with its session: it is
    /// done, and the client cannot know.
    #[must_use]
    pub fn with_lost_commit(mut self, number: u64) -> Faults {
        self.plan.lost_commit = Some(number);
        self
    }

    /// Holds everything on all sessions, both ways, until [`resume`](Faults::resume). The server itself runs on.
    pub fn stall(&self) {
        self.live.is_stalled.send_replace(true);
    }

    /// Ends a stall.
    pub fn resume(&self) {
        self.live.is_stalled.send_replace(false);
    }

    /// Makes the taps, for [`Proxy::start`](super::Proxy::start).
    pub fn taps(&self) -> impl Fn(&Connection) -> FaultTap + Send + Sync + 'static {
        let faults = self.clone();
        move |_| FaultTap {
            faults: faults.clone(),
            up: Mutex::default(),
            down: Mutex::default(),
            is_ready: AtomicBool::new(false),
        }
    }
}

/// One way of a session.
#[derive(Debug, Default)]
struct Way {
    /// When what waits in the queue came in.
    arrivals: VecDeque<Instant>,
    /// Messages that came to their turn.
    count: u64,
    /// When the line has carried what was given to it.
    free_at: Option<Instant>,
}

/// Looks on at one session for [`Faults`].
#[derive(Debug)]
pub struct FaultTap {
    faults: Faults,
    up: Mutex<Way>,
    down: Mutex<Way>,
    /// The handshake is over.
    is_ready: AtomicBool,
}

impl FaultTap {
    fn way(&self, side: Side) -> MutexGuard<'_, Way> {
        let way = if side == Side::Frontend { &self.up } else { &self.down };
        way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> &Plan {
        &self.faults.plan
    }

    fn came(&self, from: Side) {
        if !self.plan().latency.is_zero() {
            self.way(from).arrivals.push_back(Instant::now());
        }
    }

    /// When what is at its turn has come through the line, and its number.
    fn schedule(&self, from: Side, bytes: u64) -> (Instant, u64) {
        let way = &mut *self.way(from);
        let now = Instant::now();
        let mut at = way.arrivals.pop_front().map_or(now, |arrival| arrival + self.plan().latency);
        if let Some(rate) = self.plan().bytes_per_second {
            let begins = way.free_at.map_or(now, |free| free.max(now));
            let carried = begins + Duration::from_secs_f64(bytes as f64 / rate as f64);
            way.free_at = Some(carried);
            at = at.max(carried);
        }
        way.count += 1;
        (at, way.count - 1)
    }

    fn is_silent(&self, from: Side) -> bool {
        from == Side::Backend
            && match self.plan().silence {
                None => false,
                Some(Silence::FromStart) => true,
                Some(Silence::AfterHandshake) => self.is_ready.load(Ordering::SeqCst),
            }
    }

    fn loses(&self, head: &Head) -> bool {
        self.plan().lost_commit.is_some_and(|chosen| {
            head.kind() == Kind::CommandComplete
                && head.tag().as_deref() == Some("COMMIT")
                && self.faults.live.commits.fetch_add(1, Ordering::SeqCst) == chosen
        })
    }
}

impl Tap for FaultTap {
    fn arrived(&self, from: Side, _: &Head) {
        self.came(from);
    }

    fn ended(&self, from: Side) {
        self.came(from);
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        if self.is_silent(from) {
            return pending().await;
        }
        let bytes = match event {
            Event::Message(head) => head.length(),
            Event::End => 0,
        };
        let (at, number) = self.schedule(from, bytes);
        let left = at.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            wait::pass(left).await;
        }
        // Its sender lives as long as this tap.
        let _ = self.faults.live.is_stalled.subscribe().wait_for(|is_stalled| !is_stalled).await;
        let Event::Message(head) = event else { return Verdict::Pass };
        if self.plan().reset == Some((from, number)) {
            return Verdict::Reset;
        }
        if from == Side::Backend && self.loses(head) {
            return Verdict::Cut;
        }
        if from == Side::Backend && head.kind() == Kind::Ready {
            self.is_ready.store(true, Ordering::SeqCst);
        }
        Verdict::Pass
    }
}
