//! Framed content hashes: two different inputs never run together into the same bytes.

use sha2::{Digest as _, Sha256};
use std::fmt;

/// Collects named fields into a SHA-256 digest. Every field is framed by its length, so that moving a
/// byte from one field to the next changes the digest.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher for one purpose; `purpose` keeps digests of different things apart.
    pub fn new(purpose: &str) -> Self {
        Hasher::default().field("purpose", purpose)
    }

    /// Adds a named field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.add(name, value);
        self
    }

    /// Adds a named field in place.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// The digest of all fields so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// CRC-32 as zlib has it, by which tools of migrations tell files and locks apart.
pub(crate) fn crc32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let rest = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.into_iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), rest))
}

/// 32 bytes of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The plain SHA-256 of `bytes`, without a frame: comparable with `sha256sum`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Digest(Sha256::digest(bytes.as_ref()).into())
    }

    /// All 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first `digits` hexadecimal digits, for names.
    pub fn short(&self, digits: usize) -> String {
        let mut hex = self.to_string();
        hex.truncate(digits);
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// `bytes` as hexadecimal digits, two each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let one = Hasher::new("test").field("a", "xy").field("b", "z").finish();
        let two = Hasher::new("test").field("a", "x").field("b", "yz").finish();
        assert_ne!(one, two);
    }

    #[test]
    fn a_plain_digest_is_what_sha256sum_prints() {
        assert_eq!(Digest::of("abc").short(16), "ba7816bf8f01cfea");
    }
}
