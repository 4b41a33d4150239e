//! The answer to a client that cannot be served.

use super::address::Stream;
use super::message::{Head, Side};
use crate::error::Error;
use tokio::io::AsyncWriteExt;

/// `protocol_violation`.
pub(super) const PROTOCOL: &str = "08P01";
/// `connection_failure`.
const CONNECTION: &str = "08006";

/// Tells a client that its server cannot be reached.
pub(crate) async fn refuse_unreachable(stream: &mut Stream, error: &Error) {
    refuse(stream, CONNECTION, &error.report_without_help()).await;
}

/// Tells a client why its connection ends.
pub(super) async fn refuse(stream: &mut Stream, sqlstate: &str, why: &str) {
    let body = format!("SFATAL\0VFATAL\0C{sqlstate}\0Mpgharness wire: {why}\0\0");
    let head = Head::new(Side::Backend, b'E', body.as_bytes());
    // It may be gone already, and the connection ends in any case.
    let _ = stream.write_all(head.bytes()).await;
    let _ = stream.shutdown().await;
}
