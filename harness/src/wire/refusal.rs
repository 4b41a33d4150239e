//! The answer to a client that cannot be served.

use super::address::Stream;
use super::message::{Head, Side};
use tokio::io::AsyncWriteExt;

/// `protocol_violation`.
pub(super) const PROTOCOL: &str = "08P01";
/// `connection_failure`.
pub(super) const CONNECTION: &str = "08006";

/// Tells a client why its connection ends.
pub(super) async fn refuse(stream: &mut Stream, sqlstate: &str, why: &str) {
    let body = format!("SFATAL\0VFATAL\0C{sqlstate}\0Mpgharness wire: {why}\0\0");
    let head = Head::new(Side::Backend, b'E', body.as_bytes());
    // It may be gone already, and the connection ends in any case.
    let _ = stream.write_all(head.bytes()).await;
    let _ = stream.shutdown().await;
}
