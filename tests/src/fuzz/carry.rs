//! Whatever both sides say, the proxy carries it or ends the session, and does not hang.

use super::conversation::Conversation;
use pgharness::Result;
use pgharness::sqlx::postgres::PgConnectOptions;
use pgharness::statement::Random;
use pgharness::wire::{Address, Connection, Cut, FakeServer, Faults, Guest, Moment, Proxy, Record, Side};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A session that takes longer hangs. Far more than any needs, on a machine that is busy with other things too.
const SESSION_MAX: Duration = Duration::from_secs(60);

/// A server that says what it is told to, before proxies of several kinds.
pub(super) struct Carrier {
    says: Arc<Mutex<Vec<u8>>>,
    _server: FakeServer,
    proxies: Vec<Proxy>,
}

impl Carrier {
    pub(super) async fn start() -> Result<Carrier> {
        let says: Arc<Mutex<Vec<u8>>> = Arc::default();
        let script = says.clone();
        let server = FakeServer::start(move |mut guest: Guest| {
            let bytes = script.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                guest.say(&bytes).await?;
                while guest.hear().await?.is_some() {}
                Ok(())
            }
        })?;
        let nowhere = PgConnectOptions::new_without_pgpass().socket("/nowhere");
        let mut proxies = Vec::new();
        for moment in Moment::ALL {
            let (record, faults) = (
                Record::default().taps(),
                Faults::default().with_lost_commit(3).with_reset(Side::Backend, 40).taps(),
            );
            let nowhere = nowhere.clone();
            let taps = move |connection: &Connection| {
                // One cut for each session: a cut lands once.
                let step = connection.number % 3;
                let cut = match connection.number % 2 {
                    0 => Cut::at(step, moment),
                    _ => Cut::within(step, connection.number % 5, moment, nowhere.clone()),
                };
                ((faults(connection), cut.taps()(connection)), record(connection))
            };
            proxies.push(Proxy::start(server.address().clone(), taps).await?);
        }
        Ok(Carrier { says, _server: server, proxies })
    }

    /// Has both sides say this; a sentence about what is wrong, if anything is.
    pub(super) async fn carry(&self, conversation: &Conversation, random: &mut Random) -> Option<String> {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = conversation.server.clone();
        let proxy = &self.proxies[random.below(self.proxies.len())];
        let Address::Socket { dir, port } = proxy.address() else {
            return Some("the proxy has no socket".into());
        };
        let stream = match UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await {
            Ok(stream) => stream,
            Err(error) => return Some(format!("the proxy listens no more: {error}")),
        };
        let (mut reader, mut writer) = stream.into_split();
        let first = random.below(conversation.client.len() + 1);
        let write = async {
            // It may be cut off at any time.
            let _ = writer.write_all(&conversation.client[..first]).await;
            tokio::task::yield_now().await;
            let _ = writer.write_all(&conversation.client[first..]).await;
            let _ = writer.shutdown().await;
        };
        let read = async {
            let mut bytes = vec![0; 64 << 10];
            while matches!(reader.read(&mut bytes).await, Ok(length) if length > 0) {}
        };
        match tokio::time::timeout(SESSION_MAX, async { tokio::join!(write, read) }).await {
            Ok(_) => None,
            Err(_) => Some(format!("a session did not end within {SESSION_MAX:?}")),
        }
    }
}
