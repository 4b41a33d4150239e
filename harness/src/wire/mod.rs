//! The wire between a client and its server, understood: where a message begins and ends, what is a step, and a proxy
//! on which others hold, cut and record.
//!
//! Migrators and services come in every language, so the instrument sits where all of them pass. A [`Proxy`] listens
//! on a socket of its own and forwards every byte to the server; a [`Tap`] looks on and decides when a message may go
//! on. Memory is bounded whatever passes: of a long message only the beginning is ever kept.
//!
//! TLS is refused, unless a proxy is started with an `Authority` (feature `tls`): then it ends there.
//!
//! The framing is our own: the well-kept libraries collect a message before they show it, and a value of 200 MB would
//! be collected with it.

mod address;
#[cfg(feature = "tls")]
mod authority;
mod batch;
mod connection;
mod cut;
mod fake_server;
mod fault;
mod framing;
mod halt;
mod landing;
mod lane;
mod message;
mod prepared;
mod proxy;
mod record;
mod refusal;
mod relay;
mod tap;
mod tls;
mod transcript;

pub use address::{Address, Stream};
#[cfg(feature = "tls")]
pub use authority::Authority;
pub use batch::{Batches, Boundary};
pub use connection::Connection;
pub(crate) use connection::{Arrival, begin, forward_cancel, greet};
pub use cut::{Cut, CutTap};
pub use fake_server::{FakeServer, Guest, Reply};
pub use fault::{FaultTap, Faults, Silence};
pub use framing::{Framer, HEAD_MAX, Malformed, Piece};
pub use landing::{Landing, Moment};
pub use message::{Head, Kind, Side, Status};
pub use prepared::Prepared;
pub(crate) use proxy::Listener;
pub use proxy::Proxy;
pub use record::{Record, RecordTap};
pub(crate) use refusal::refuse_unreachable;
pub(crate) use relay::{Leg, relay};
pub use tap::{Event, PassAll, Tap, Verdict};
pub use transcript::{Answer, Entry, Transcript};
