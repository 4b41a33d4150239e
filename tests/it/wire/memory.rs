//! What passes the proxy does not stay in it: the memory of a process that does nothing else.

use crate::raw::Raw;
use crate::support::empty_database;
use sqlx::postgres::PgConnectOptions;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A value of this size, in bytes.
const VALUE: usize = 200_000_000;
/// So many rows are copied each way.
const ROWS: usize = 300_000;
/// Memory may grow by so much at any time, in KiB.
const GROWTH_MAX_KIB: u64 = 16 << 10;

/// A proxy in a process of its own, before this database.
struct Carrier(Child);

impl Carrier {
    fn start(direct: &PgConnectOptions) -> (Carrier, PgConnectOptions) {
        #[expect(clippy::disallowed_methods, reason = "a test may start a client's other end")]
        let mut child = Command::new(env!("CARGO_BIN_EXE_proxy"))
            .arg(direct.get_socket().unwrap())
            .arg(direct.get_port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (dir, port) = line.trim().rsplit_once(' ').unwrap();
        let through = direct.clone().socket(dir).port(port.parse().unwrap());
        (Carrier(child), through)
    }

    /// The most that it has held so far, in KiB.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // With its input it ends by itself, and takes its socket's directory with it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "the system does not tell what another process holds")]
async fn long_values_and_many_rows_take_no_memory() {
    let direct = empty_database().await;
    let (carrier, through) = Carrier::start(&direct);
    let mut raw = Raw::start(&through).await;
    raw.say(&[(b'Q', b"create table t (n int, text text)\0")]).await;
    raw.read_until(b'Z').await;
    let before = carrier.peak_kib();
    let mut grown = Vec::new();

    raw.say(&[(b'P', b"\0select length($1)\0\0\x01\0\0\0\x19")]).await;
    raw.say_long(b'B', b"\0\0\0\0\0\x01", VALUE).await;
    raw.say(&[(b'E', b"\0\0\0\0\0"), (b'S', b"")]).await;
    assert_eq!(raw.read_until(b'Z').await, "12DCZ");
    grown.push(("a value from the client", carrier.peak_kib() - before));

    raw.say(&[(b'Q', format!("select repeat('x', {VALUE})\0").as_bytes())]).await;
    assert_eq!(raw.read_until(b'Z').await, "TDCZ");
    grown.push(("a value from the server", carrier.peak_kib() - before));

    raw.say(&[(b'Q', b"copy t from stdin\0")]).await;
    assert_eq!(raw.read_until(b'G').await, "G");
    for part in 0..ROWS / 1000 {
        let rows: Vec<String> =
            (0..1000).map(|row| format!("{}\tsome text of a row\n", part * 1000 + row)).collect();
        let messages: Vec<(u8, &[u8])> = rows.iter().map(|row| (b'd', row.as_bytes())).collect();
        raw.say(&messages).await;
    }
    raw.say(&[(b'c', b"")]).await;
    assert_eq!(raw.read_until(b'Z').await, "CZ");
    grown.push(("rows copied in", carrier.peak_kib() - before));

    raw.say(&[(b'Q', b"copy t to stdout\0")]).await;
    assert_eq!(raw.read_until(b'Z').await.len(), "H".len() + ROWS + "cCZ".len());
    grown.push(("rows copied out", carrier.peak_kib() - before));

    println!("KiB above {before}, after each: {grown:?}");
    assert!(grown.iter().all(|(_, kib)| *kib <= GROWTH_MAX_KIB), "KiB above {before}: {grown:?}");
}
