//! A proxy as a program of its own, so that its memory can be measured: `proxy <dir> <port>` of the server's socket. It
//! says where it listens, with everything on it that looks on, and ends with its input.

use pgharness::wire::{Address, Connection, Cut, Faults, Moment, Proxy, Record};
use std::error::Error;
use std::io::{Write, copy, sink, stdin, stdout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("usage: proxy <dir> <port>".into());
    };
    let server = Address::Socket { dir: dir.into(), port: port.parse()? };
    let (faults, cuts, records) =
        (Faults::default().taps(), Cut::at(u64::MAX, Moment::Before).taps(), Record::default().taps());
    let taps = move |connection: &Connection| (faults(connection), (cuts(connection), records(connection)));
    let proxy = Proxy::start(server, taps).await?;
    let Address::Socket { dir, port } = proxy.address() else { return Err("there is no socket".into()) };
    writeln!(stdout(), "{} {port}", dir.display())?;
    tokio::task::spawn_blocking(|| copy(&mut stdin(), &mut sink())).await??;
    Ok(())
}
