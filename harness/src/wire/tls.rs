//! What becomes of a client that asks for TLS.

use super::address::Stream;

#[cfg(feature = "tls")]
use super::authority::{ALPN, Authority};
#[cfg(feature = "tls")]
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor};

/// What a listener makes of a client that asks for TLS.
#[derive(Clone, Debug, Default)]
pub(super) enum Tls {
    /// It is told that there is none: a client that insists says so to its user.
    #[default]
    Refused,
    /// It ends here; what lies behind is spoken to in the clear.
    #[cfg(feature = "tls")]
    Terminated(Authority),
}

impl Tls {
    pub(super) fn is_offered(&self) -> bool {
        !matches!(self, Tls::Refused)
    }

    /// Does the server's part of a handshake. `began` was read already, of a client that began without having asked: it
    /// must say that it speaks Postgres, as the server itself demands of it. `None`: there was no agreement, and the
    /// client was told as far as TLS has words for it.
    pub(super) async fn accept(&self, stream: Stream, began: &[u8]) -> Option<Stream> {
        match self {
            // Nobody gets here: it was not offered.
            Tls::Refused => {
                drop((stream, began));
                None
            }
            #[cfg(feature = "tls")]
            Tls::Terminated(authority) => {
                let mut acceptor = Acceptor::default();
                let mut unread = began;
                while !unread.is_empty() {
                    acceptor.read_tls(&mut unread).ok().filter(|length| *length > 0)?;
                }
                let handshake = LazyConfigAcceptor::new(acceptor, stream).await.ok()?;
                let says_so =
                    handshake.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == ALPN));
                if !began.is_empty() && !says_so {
                    return None;
                }
                Some(Box::new(handshake.into_stream(authority.config()).await.ok()?))
            }
        }
    }
}
