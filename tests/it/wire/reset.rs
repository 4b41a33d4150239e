//! A reset by TCP is one: both sides hear of it as such.

use pgharness::wire::{Address, Cut, Faults, Moment, Proxy, Side, Tap};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A start-up packet.
pub(super) fn startup() -> Vec<u8> {
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &[0, 3, 0, 0], parameters].concat()
}

/// How a session of one query ends for the client and for the server, which says nothing.
async fn ends<T: Tap>(
    taps: impl Fn(&pgharness::wire::Connection) -> T + Send + Sync + 'static,
) -> [Option<ErrorKind>; 2] {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let proxy = Proxy::start_tcp(Address::Tcp { host: "127.0.0.1".into(), port }, taps).await.unwrap();
    let Address::Tcp { host, port } = proxy.address().clone() else { panic!("{proxy:?}") };
    let mut client = TcpStream::connect((host, port)).await.unwrap();
    client.write_all(&startup()).await.unwrap();
    let (mut server, _) = server.accept().await.unwrap();
    server.read_exact(&mut vec![0; startup().len()]).await.unwrap();
    client.write_all(b"Q\0\0\0\x0dselect 1\0").await.unwrap();
    let mut rest = Vec::new();
    let ends = tokio::join!(client.read_to_end(&mut rest), async {
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await
    });
    [ends.0, ends.1].map(|end| end.err().map(|error| error.kind()))
}

#[tokio::test]
async fn a_reset_is_none_of_the_ends_that_a_cut_makes() {
    let reset = Faults::default().with_reset(Side::Frontend, 0);
    assert_eq!(ends(reset.taps()).await, [Some(ErrorKind::ConnectionReset); 2]);
    assert_eq!(ends(Cut::at(0, Moment::Before).taps()).await, [None; 2]);
}
