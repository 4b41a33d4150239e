//! TEMPORARY until the install branch lands.
use crate::digest::{Digest, Hasher};
use crate::error::Result;
use std::path::{Path, PathBuf};
/// x
#[derive(Debug, Clone)]
pub struct Installation {
    bin: PathBuf,
}
impl Installation {
    /// x
    pub fn debian() -> Result<Self> {
        Ok(Installation { bin: "/usr/lib/postgresql/15/bin".into() })
    }
    /// x
    pub fn bin(&self) -> &Path {
        &self.bin
    }
    /// x
    pub fn program(&self, n: &str) -> PathBuf {
        self.bin.join(n)
    }
    /// x
    pub fn identity(&self) -> Digest {
        Hasher::new("i").field("bin", self.bin.as_os_str().as_encoded_bytes()).finish()
    }
}
