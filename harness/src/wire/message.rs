//! A message's head: what it is, how long it is, and its beginning.

use std::fmt;

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Frontend,
    /// The server.
    Backend,
}

macro_rules! kinds {
    ($($side:ident { $($byte:literal => $name:ident,)* })*) => {
        /// What a message is. What both sides may send (`CopyData`, `CopyDone`) has one name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are the protocol's own")]
        #[non_exhaustive]
        pub enum Kind {
            Startup,
            SslRequest,
            GssRequest,
            CancelRequest,
            CopyData,
            CopyDone,
            $($($name,)*)*
            /// A type byte that the protocol does not have.
            Unknown(u8),
        }

        impl Kind {
            /// What the type byte `byte` means when `side` sends it.
            pub(super) fn of(side: Side, byte: u8) -> Kind {
                match (side, byte) {
                    (_, b'd') => Kind::CopyData,
                    (_, b'c') => Kind::CopyDone,
                    $($((Side::$side, $byte) => Kind::$name,)*)*
                    (_, other) => Kind::Unknown(other),
                }
            }
        }
    };
}

kinds! {
    Frontend {
        b'B' => Bind,
        b'C' => Close,
        b'D' => Describe,
        b'E' => Execute,
        b'F' => FunctionCall,
        b'H' => Flush,
        b'P' => Parse,
        b'Q' => Query,
        b'S' => Sync,
        b'X' => Terminate,
        b'f' => CopyFail,
        b'p' => Password,
    }
    Backend {
        b'1' => ParseComplete,
        b'2' => BindComplete,
        b'3' => CloseComplete,
        b'A' => Notification,
        b'C' => CommandComplete,
        b'D' => DataRow,
        b'E' => Error,
        b'G' => CopyIn,
        b'H' => CopyOut,
        b'I' => EmptyQuery,
        b'K' => BackendKey,
        b'N' => Notice,
        b'R' => Authentication,
        b'S' => ParameterStatus,
        b'T' => RowDescription,
        b'V' => FunctionResult,
        b'W' => CopyBoth,
        b'Z' => Ready,
        b'n' => NoData,
        b's' => PortalSuspended,
        b't' => ParameterDescription,
        b'v' => NegotiateVersion,
    }
}

/// Where a session stands after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Outside a transaction.
    Idle,
    /// Inside one.
    Transaction,
    /// Inside one that failed.
    Failed,
}

/// The beginning of a message: all of it, unless it is longer than [`HEAD_MAX`](super::HEAD_MAX).
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub(super) kind: Kind,
    /// The length of all of it on the wire, in bytes.
    pub(super) length: u64,
    /// As it came: with its type byte and its length.
    pub(super) bytes: Vec<u8>,
    /// Where the body begins within `bytes`.
    pub(super) body_at: usize,
}

// Bodies hold passwords and values of rows: neither belongs into a log.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.kind, self.length)
    }
}

impl Head {
    /// A typed message with this body.
    pub fn new(side: Side, byte: u8, body: &[u8]) -> Head {
        let mut bytes = Vec::with_capacity(body.len() + 5);
        bytes.push(byte);
        // A body that a caller holds in memory for a message is far below 4 GiB; a longer one is cut short.
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Head { kind: Kind::of(side, byte), length: u64::from(length) + 1, bytes, body_at: 5 }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its length on the wire, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.length == self.bytes.len() as u64
    }

    /// As it came, with its type byte and its length; of a long one the beginning.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its body; of a long one the beginning.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// The zero-terminated texts of its body from `at`, one after another; the last may have been cut.
    fn texts(&self, at: usize) -> impl Iterator<Item = String> {
        let rest = self.body().get(at..).unwrap_or_default();
        rest.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn text(&self, at: usize) -> String {
        self.texts(at).next().unwrap_or_default()
    }

    /// The SQL of a `Query` or a `Parse`; of a long one the beginning.
    pub fn sql(&self) -> Option<String> {
        match self.kind {
            Kind::Query => Some(self.text(0)),
            Kind::Parse => self.texts(0).nth(1),
            _ => None,
        }
    }

    /// The statement that a `Parse` names or a `Bind` uses.
    pub fn statement(&self) -> Option<String> {
        match self.kind {
            Kind::Parse => Some(self.text(0)),
            Kind::Bind => self.texts(0).nth(1),
            _ => None,
        }
    }

    /// The portal that a `Bind` makes or an `Execute` runs.
    pub fn portal(&self) -> Option<String> {
        matches!(self.kind, Kind::Bind | Kind::Execute).then(|| self.text(0))
    }

    /// What a `Close` or a `Describe` is about: `S` and a statement's name, or `P` and a portal's.
    pub fn target(&self) -> Option<(u8, String)> {
        match self.kind {
            Kind::Close | Kind::Describe => Some((*self.body().first()?, self.text(1))),
            _ => None,
        }
    }

    /// The tag of a `CommandComplete`: `UPDATE 1`.
    pub fn tag(&self) -> Option<String> {
        (self.kind == Kind::CommandComplete).then(|| self.text(0))
    }

    /// Where the session stands, of a `Ready`.
    pub fn status(&self) -> Option<Status> {
        if self.kind != Kind::Ready {
            return None;
        }
        Some(match self.body().first()? {
            b'T' => Status::Transaction,
            b'E' => Status::Failed,
            _ => Status::Idle,
        })
    }

    /// A field of an `Error` or a `Notice` by its letter: `C` is the SQLSTATE, `M` the message.
    pub fn field(&self, letter: u8) -> Option<String> {
        if !matches!(self.kind, Kind::Error | Kind::Notice) {
            return None;
        }
        let mut fields = self.body().split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&letter))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    }

    /// The process id of the server's process, of a `BackendKey`.
    pub fn pid(&self) -> Option<i32> {
        if self.kind != Kind::BackendKey {
            return None;
        }
        Some(i32::from_be_bytes(self.body().get(..4)?.try_into().ok()?))
    }

    /// Whether a backslash escapes in plain strings from now on, of a `ParameterStatus` that says so: then the end of one
    /// cannot be told by the standard's rules.
    pub(super) fn escapes(&self) -> Option<bool> {
        let value = self.body().strip_prefix(b"standard_conforming_strings\0")?;
        (self.kind == Kind::ParameterStatus).then(|| !value.starts_with(b"on"))
    }

    /// A parameter of a `Startup`: `user`, `database`, `options`, …
    pub fn parameter(&self, name: &str) -> Option<String> {
        if self.kind != Kind::Startup {
            return None;
        }
        let mut texts = self.texts(4);
        while let (Some(key), Some(value)) = (texts.next(), texts.next()) {
            if key == name {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_tells() {
        let parse = Head::new(Side::Frontend, b'P', b"s1\0select $1\0\0\0");
        assert_eq!(parse.kind(), Kind::Parse);
        assert_eq!((parse.statement().as_deref(), parse.sql().as_deref()), (Some("s1"), Some("select $1")));
        let bind = Head::new(Side::Frontend, b'B', b"p1\0s1\0\0\0");
        assert_eq!((bind.portal().as_deref(), bind.statement().as_deref()), (Some("p1"), Some("s1")));
        let error = Head::new(Side::Backend, b'E', b"SERROR\0C40001\0Mcould not\0\0");
        assert_eq!(error.field(b'C').as_deref(), Some("40001"));
        assert_eq!(Head::new(Side::Backend, b'Z', b"T").status(), Some(Status::Transaction));
        assert_eq!(Head::new(Side::Backend, b'K', &[0, 0, 1, 2, 9, 9, 9, 9]).pid(), Some(258));
    }

    #[test]
    fn what_is_missing_is_missing() {
        for byte in 0..=255 {
            for side in [Side::Frontend, Side::Backend] {
                let head = Head::new(side, byte, b"");
                let _ = (head.sql(), head.statement(), head.portal(), head.target(), head.tag());
                let _ = (head.status(), head.field(b'C'), head.pid(), head.parameter("user"));
            }
        }
    }

    #[test]
    fn a_body_is_not_shown() {
        let head = Head::new(Side::Frontend, b'p', b"secret\0");
        assert_eq!(format!("{head:?}"), "Password of 12 bytes");
    }
}
