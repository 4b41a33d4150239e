//! Finding messages in a stream of bytes, however it is cut, in bounded memory.

use super::message::{Head, Kind, Side};

/// As much of a message is kept as its head, in bytes: all of it for nearly every message, the SQL of long ones too.
pub const HEAD_MAX: usize = 16 << 10;
/// The server's own limit on what comes before the session starts, in bytes.
const STARTUP_MAX: u32 = 10_000;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// Why bytes are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// A length that no message can have.
    Length(u32),
    /// The first packet asks for something that is no protocol of Postgres.
    Protocol(u32),
    /// The first packet is that of TLS, without having asked for it.
    Tls,
    /// Something after a packet that ends the conversation.
    Trailing,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Length(length) => write!(f, "a message cannot have the length {length}"),
            Malformed::Protocol(code) => {
                write!(f, "protocol {}.{} is none of Postgres", code >> 16, code & 0xffff)
            }
            Malformed::Tls => f.write_str("the client began with TLS, which this proxy does not speak"),
            Malformed::Trailing => f.write_str("there is something after the last packet"),
        }
    }
}

impl std::error::Error for Malformed {}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A message begins.
    Head(Head),
    /// The message that began goes on.
    Body(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the session: packets have no type byte.
    Initial,
    Typed,
    /// So much of a long message is still to come.
    Within(u64),
    /// After a cancel request nothing comes.
    Over,
}

/// Finds the messages of one side.
#[derive(Debug)]
pub struct Framer {
    side: Side,
    state: State,
    /// The head that is not complete yet.
    head: Vec<u8>,
    head_max: usize,
}

impl Framer {
    /// For a connection from its beginning.
    pub fn new(side: Side) -> Framer {
        let state = match side {
            Side::Frontend => State::Initial,
            Side::Backend => State::Typed,
        };
        Framer { side, state, head: Vec::new(), head_max: HEAD_MAX }
    }

    /// For a connection that is past its start-up packet.
    pub fn typed(side: Side) -> Framer {
        Framer { side, state: State::Typed, head: Vec::new(), head_max: HEAD_MAX }
    }

    /// Keeps so much of a message as its head from now on, in bytes; [`HEAD_MAX`] is the least.
    pub(super) fn keep(&mut self, head_max: usize) {
        self.head_max = head_max.max(HEAD_MAX);
    }

    /// What was fed to it and is no message yet.
    pub(super) fn into_unread(self) -> Vec<u8> {
        self.head
    }

    /// Whether the stream stands between two messages.
    pub fn is_between(&self) -> bool {
        self.head.is_empty() && !matches!(self.state, State::Within(_))
    }

    /// How many bytes of a message are still to come before it can be shown; 0 if a first byte is missing.
    pub(super) fn wanted(&self) -> Result<usize, Malformed> {
        let have = self.head.len();
        let header = match self.state {
            State::Initial => 8,
            _ => 5,
        };
        if matches!(self.state, State::Initial) && self.head.first() == Some(&0x16) {
            return Err(Malformed::Tls);
        }
        if have < header {
            return Ok(header - have);
        }
        let whole = self.length()?;
        let shown = usize::try_from(whole).unwrap_or(usize::MAX).min(self.head_max);
        Ok(shown.saturating_sub(have))
    }

    /// The length on the wire of the message whose header is there.
    fn length(&self) -> Result<u64, Malformed> {
        let at = usize::from(!matches!(self.state, State::Initial));
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.head[at..at + 4]);
        let length = u32::from_be_bytes(bytes);
        match self.state {
            State::Initial if !(8..=STARTUP_MAX).contains(&length) => Err(Malformed::Length(length)),
            // A length is signed on the wire.
            _ if length < 4 || length > i32::MAX.cast_unsigned() => Err(Malformed::Length(length)),
            State::Initial => Ok(u64::from(length)),
            _ => Ok(u64::from(length) + 1),
        }
    }

    /// Takes bytes as they came and gives what they hold to `sink`.
    ///
    /// # Errors
    /// They are no messages; nothing more can be made of this stream.
    pub fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Piece)) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            match self.state {
                State::Over => return Err(Malformed::Trailing),
                State::Within(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    sink(Piece::Body(bytes[..take].to_vec()));
                    bytes = &bytes[take..];
                    self.state = match left - take as u64 {
                        0 => State::Typed,
                        left => State::Within(left),
                    };
                }
                State::Initial | State::Typed => {
                    let take = self.wanted()?.min(bytes.len());
                    self.head.extend_from_slice(&bytes[..take]);
                    bytes = &bytes[take..];
                    // Twice: the header says how much of the body is wanted.
                    if self.wanted()? == 0 {
                        sink(Piece::Head(self.complete()?));
                    }
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<Head, Malformed> {
        let length = self.length()?;
        let is_initial = matches!(self.state, State::Initial);
        let bytes = std::mem::take(&mut self.head);
        let kind = if is_initial {
            let mut code = [0; 4];
            code.copy_from_slice(&bytes[4..8]);
            match u32::from_be_bytes(code) {
                CANCEL => Kind::CancelRequest,
                SSL => Kind::SslRequest,
                GSS => Kind::GssRequest,
                // 3.0 and what may follow it: the server says which it speaks.
                code if code >> 16 == 3 => Kind::Startup,
                code => return Err(Malformed::Protocol(code)),
            }
        } else {
            Kind::of(self.side, bytes[0])
        };
        self.state = match kind {
            Kind::SslRequest | Kind::GssRequest => State::Initial,
            Kind::CancelRequest => State::Over,
            _ => match length - bytes.len() as u64 {
                0 => State::Typed,
                left => State::Within(left),
            },
        };
        Ok(Head { kind, length, bytes, body_at: if is_initial { 4 } else { 5 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(framer: &mut Framer, bytes: &[u8], cut: usize) -> Result<Vec<Piece>, Malformed> {
        let mut pieces = Vec::new();
        for part in bytes.chunks(cut.max(1)) {
            framer.feed(part, |piece| pieces.push(piece))?;
        }
        Ok(pieces)
    }

    fn startup() -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 23, 0, 3, 0, 0];
        bytes.extend(b"user\0postgres\0\0");
        bytes
    }

    #[test]
    fn a_session_is_the_same_however_it_is_cut() {
        let mut stream = vec![0, 0, 0, 8, 4, 210, 22, 47];
        stream.extend(startup());
        stream.extend(Head::new(Side::Frontend, b'Q', b"select 1\0").bytes());
        stream.extend(Head::new(Side::Frontend, b'S', b"").bytes());
        let kinds = |cut| -> Vec<Kind> {
            let pieces = all(&mut Framer::new(Side::Frontend), &stream, cut).unwrap();
            pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Head(head) => head.kind(),
                    Piece::Body(_) => panic!("nothing here is long"),
                })
                .collect()
        };
        for cut in 1..=stream.len() {
            assert_eq!(kinds(cut), [Kind::SslRequest, Kind::Startup, Kind::Query, Kind::Sync], "{cut}");
        }
    }

    #[test]
    fn the_user_is_read_from_the_startup() {
        let pieces = all(&mut Framer::new(Side::Frontend), &startup(), 100).unwrap();
        let Piece::Head(head) = &pieces[0] else { panic!("{pieces:?}") };
        assert_eq!(head.parameter("user").as_deref(), Some("postgres"));
        assert_eq!(head.parameter("database"), None);
    }

    #[test]
    fn a_long_message_is_streamed() {
        let mut stream = Head::new(Side::Backend, b'D', &vec![7; 5 * HEAD_MAX]).bytes;
        stream.extend(Head::new(Side::Backend, b'Z', b"I").bytes());
        let mut framer = Framer::new(Side::Backend);
        let pieces = all(&mut framer, &stream, 1000).unwrap();
        let Piece::Head(head) = &pieces[0] else { panic!("{pieces:?}") };
        assert_eq!((head.kind(), head.bytes().len(), head.is_whole()), (Kind::DataRow, HEAD_MAX, false));
        let bodies: usize = pieces
            .iter()
            .filter_map(|piece| if let Piece::Body(bytes) = piece { Some(bytes.len()) } else { None })
            .sum();
        assert_eq!(bodies, 4 * HEAD_MAX + 5);
        assert!(matches!(pieces.last(), Some(Piece::Head(head)) if head.kind() == Kind::Ready));
        assert!(framer.is_between());
    }

    #[test]
    fn what_is_no_protocol_is_told() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(all(&mut Framer::new(Side::Frontend), bytes, 3).unwrap_err(), expected);
        };
        check(b"GET / HTTP/1.1\r\n\r\n", Malformed::Length(0x4745_5420));
        check(&[0, 0, 0, 3, 0, 0, 0, 0], Malformed::Length(3));
        check(&[0, 0, 0, 8, 0, 2, 0, 0], Malformed::Protocol(0x2_0000));
        check(&[0x16, 3, 1, 2, 0, 1, 0, 1], Malformed::Tls);
        let mut cancel = vec![0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(all(&mut Framer::new(Side::Frontend), &cancel, 5).unwrap().len(), 1);
        cancel.push(0);
        check(&cancel, Malformed::Trailing);
    }

    proptest! {
        #[test]
        fn bytes_are_neither_lost_nor_kept(
            bytes in prop::collection::vec(any::<u8>(), 0..4000),
            cut in 1usize..50,
            is_backend in any::<bool>(),
        ) {
            let mut framer = if is_backend { Framer::new(Side::Backend) } else { Framer::typed(Side::Frontend) };
            let mut seen = Vec::new();
            let outcome = bytes.chunks(cut).try_for_each(|part| framer.feed(part, |piece| match piece {
                Piece::Head(head) => seen.extend(head.bytes()),
                Piece::Body(body) => seen.extend(body),
            }));
            prop_assert!(bytes.starts_with(&seen));
            if outcome.is_ok() {
                prop_assert_eq!(seen.len() + framer.head.len(), bytes.len());
            }
        }
    }
}
