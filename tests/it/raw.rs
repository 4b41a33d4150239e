//! A client that speaks the protocol message by message.

use pgharness::wire::{Head, Side};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A conversation in raw messages.
pub(crate) struct Raw(UnixStream);

impl Raw {
    /// A session on the unix socket that `options` lead to.
    pub(crate) async fn start(options: &PgConnectOptions) -> Raw {
        let socket = options.get_socket().unwrap().join(format!(".s.PGSQL.{}", options.get_port()));
        let mut raw = Raw(UnixStream::connect(socket).await.unwrap());
        let (user, database) = (options.get_username(), options.get_database().unwrap());
        let parameters = format!("user\0{user}\0database\0{database}\0\0");
        let length = u32::try_from(parameters.len() + 8).unwrap();
        let packet = [&length.to_be_bytes(), &[0, 3, 0, 0][..], parameters.as_bytes()].concat();
        raw.0.write_all(&packet).await.unwrap();
        raw.read_until(b'Z').await;
        raw
    }

    /// Sends messages of these types with these bodies.
    pub(crate) async fn say(&mut self, messages: &[(u8, &[u8])]) {
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|(byte, body)| Head::new(Side::Frontend, *byte, body).bytes().to_vec())
            .collect();
        self.0.write_all(&bytes).await.unwrap();
    }

    /// Sends a `Bind`, or what is like it: a body that ends with one value of so many bytes, and no formats behind it.
    pub(crate) async fn say_long(&mut self, byte: u8, begin: &[u8], length: usize) {
        let whole = u32::try_from(4 + begin.len() + 4 + length + 2).unwrap();
        let value = u32::try_from(length).unwrap().to_be_bytes();
        self.0.write_all(&[&[byte][..], &whole.to_be_bytes(), begin, &value].concat()).await.unwrap();
        let filler = vec![b'x'; 64 << 10];
        let mut left = length;
        while left > 0 {
            let part = left.min(filler.len());
            self.0.write_all(&filler[..part]).await.unwrap();
            left -= part;
        }
        self.0.write_all(&[0, 0]).await.unwrap();
    }

    /// The type bytes of all messages up to the first of this type.
    pub(crate) async fn read_until(&mut self, last: u8) -> String {
        let mut seen = String::new();
        loop {
            let byte = self.0.read_u8().await.unwrap();
            let length = self.0.read_u32().await.unwrap();
            let mut body = vec![0; length as usize - 4];
            self.0.read_exact(&mut body).await.unwrap();
            seen.push(char::from(byte));
            if byte == last {
                return seen;
            }
        }
    }
}
