//! What both sides say, as bytes: read from a file, and changed at random.

use pgharness::statement::Random;
use pgharness::wire::{Head, Side};
use std::path::Path;

/// Lengths at which something may go wrong.
const LENGTHS: &[u32] =
    &[0, 1, 3, 4, 5, 8, 255, 10_000, 10_001, 16_384, 16_385, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// Whatever is done to a conversation, each side stays below this, in bytes.
const BYTES_MAX: usize = 4 << 20;

/// What a client and a server say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conversation {
    pub(super) client: Vec<u8>,
    pub(super) server: Vec<u8>,
}

impl Conversation {
    /// Reads the files of a directory, in the order of their names.
    pub(super) fn read_dir(dir: &Path) -> std::io::Result<Vec<Conversation>> {
        let mut paths: Vec<_> =
            std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        paths.sort();
        paths.iter().map(|path| Ok(Conversation::parse(&std::fs::read_to_string(path)?))).collect()
    }

    /// Lines of `> type body` for the client and `< type body` for the server; `raw` has no type and no length.
    fn parse(text: &str) -> Conversation {
        let mut conversation = Conversation::default();
        for line in text.lines() {
            let Some((who, rest)) = line.split_once(' ') else { continue };
            let (side, bytes) = match who {
                ">" => (Side::Frontend, &mut conversation.client),
                "<" => (Side::Backend, &mut conversation.server),
                _ => continue,
            };
            let (kind, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let body = unescape(body);
            match kind {
                "raw" => bytes.extend(body),
                "startup" => {
                    bytes.extend((body.len() as u32 + 8).to_be_bytes());
                    bytes.extend([0, 3, 0, 0]);
                    bytes.extend(body);
                }
                kind => bytes.extend(Head::new(side, kind.as_bytes()[0], &body).bytes()),
            }
        }
        conversation
    }

    /// Another one, not far from one of these; what the other side says than `only` is left as it is.
    pub(super) fn invent(corpus: &[Conversation], only: Option<Side>, random: &mut Random) -> Conversation {
        let mut conversation = match corpus {
            [] => Conversation::default(),
            corpus => corpus[random.below(corpus.len())].clone(),
        };
        for _ in 0..random.below(6) {
            let other = &corpus[random.below(corpus.len())];
            let is_client = match only {
                Some(side) => side == Side::Frontend,
                None => random.below(2) == 0,
            };
            let donor = if random.below(2) == 0 { &other.client } else { &other.server };
            change(
                if is_client { &mut conversation.client } else { &mut conversation.server },
                donor,
                random,
            );
        }
        conversation
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes().peekable();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'x') => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = String::from_utf8_lossy(&digits);
                out.push(u8::from_str_radix(&digits, 16).unwrap_or(0));
            }
            // `\0`, and small numbers up to the next that is no digit of an octal number.
            Some(first @ b'0'..=b'7') => {
                let mut value = first - b'0';
                if first != b'0'
                    && let Some(second @ b'0'..=b'7') = bytes.peek().copied()
                {
                    bytes.next();
                    value = value * 8 + (second - b'0');
                }
                out.push(value);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn change(bytes: &mut Vec<u8>, donor: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(64)).min(bytes.len());
    match random.below(10) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        4 if at < bytes.len() => bytes[at] = random.next_u64() as u8,
        5 if at + 4 <= bytes.len() => {
            let length = LENGTHS[random.below(LENGTHS.len())];
            bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        6 => {
            let noise: Vec<u8> = (0..random.below(40)).map(|_| random.next_u64() as u8).collect();
            bytes.splice(at..at, noise);
        }
        7 => {
            let from = random.below(donor.len() + 1);
            let part = &donor[from..(from + random.below(200)).min(donor.len())];
            bytes.splice(at..at, part.iter().copied());
        }
        // A message of a chosen length, now and then a long one.
        8 => {
            let length = [0, 1, 4, 100, 16_380, 70_000][random.below(6)];
            let kind = b"QPBEDCSHdcfpFXRZTKSN123nstAVWGI"[random.below(31)];
            let filler = [0, b'a', b'\'', b'$', 0xff][random.below(5)];
            bytes.splice(
                at..at,
                Head::new(Side::Frontend, kind, &vec![filler; length]).bytes().iter().copied(),
            );
        }
        // A flood: what is there from one place on, many times. Rare, since it is slow.
        _ if random.below(20) == 0 => {
            let part = bytes[at..end].to_vec();
            let times = random.below(BYTES_MAX / part.len().max(1) + 1).min(50_000);
            bytes.splice(at..at, part.repeat(times));
        }
        _ => {}
    }
    bytes.truncate(BYTES_MAX);
}
