//! The way to a server: by TCP, through a proxy, under TLS.

use super::invalid;
use super::proxy::Proxies;
use super::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::{Position, Url};

const CONNECT_SECONDS_MAX: u64 = 10;
/// How long a server may be silent.
const SILENCE_SECONDS_MAX: u64 = 60;
/// How long all of it may take, an archive of some 20 MB.
const FETCH_SECONDS_MAX: u64 = 900;

/// What reaches servers.
pub(super) struct Client {
    proxies: Proxies,
    /// Made when it is first needed: it reads all certificates that the system trusts.
    tls: Option<Arc<ClientConfig>>,
    until: Instant,
}

/// A connection, whatever it goes through.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A connection that ends in time even if a byte comes now and then.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Client {
    pub(super) fn from_env() -> Client {
        let until = Instant::now() + Duration::from_secs(FETCH_SECONDS_MAX);
        Client { proxies: Proxies::from_env(), tls: None, until }
    }

    /// Asks for a file.
    pub(super) fn ask(&mut self, url: &Url) -> io::Result<Response> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("`{}` is not HTTP", url.scheme())));
        }
        let proxy = self.proxies.of(url)?;
        let mut stream = self.connect(proxy.as_ref().unwrap_or(url))?;
        if let Some(proxy) = proxy.as_ref().filter(|proxy| proxy.scheme() == "https") {
            stream = self.secure(stream, proxy)?;
        }
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let mut head = match &proxy {
            Some(proxy) if url.scheme() == "http" => {
                format!("GET http://{host}{path} HTTP/1.1\r\n{}", credentials("Proxy-Authorization", proxy))
            }
            proxy => {
                if let Some(proxy) = proxy {
                    open_tunnel(&mut *stream, url, proxy)?;
                }
                if url.scheme() == "https" {
                    stream = self.secure(stream, url)?;
                }
                format!("GET {path} HTTP/1.1\r\n")
            }
        };
        head.push_str(&credentials("Authorization", url));
        let us = concat!("pgharness/", env!("CARGO_PKG_VERSION"));
        head.push_str(&format!(
            "Host: {host}\r\nUser-Agent: {us}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ));
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
        Response::read(&mut *stream)
    }

    /// Connects to the host of `url`.
    fn connect(&self, url: &Url) -> io::Result<Box<dyn Stream>> {
        let mut failure = invalid("the address names no host");
        for address in url.socket_addrs(|| None)? {
            match TcpStream::connect_timeout(&address, Duration::from_secs(CONNECT_SECONDS_MAX)) {
                Ok(stream) => {
                    let silence = Some(Duration::from_secs(SILENCE_SECONDS_MAX));
                    stream.set_read_timeout(silence)?;
                    stream.set_write_timeout(silence)?;
                    return Ok(Box::new(Timed { stream, until: self.until }));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Puts TLS on a connection to the host of `url`.
    fn secure(&mut self, stream: Box<dyn Stream>, url: &Url) -> io::Result<Box<dyn Stream>> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(invalid)?;
        let config = match &self.tls {
            Some(config) => config.clone(),
            None => self.tls.insert(Arc::new(trusting_as_the_system().map_err(io::Error::other)?)).clone(),
        };
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)))
    }
}

/// Whom the system trusts is trusted.
fn trusting_as_the_system() -> Result<ClientConfig, rustls::Error> {
    // Named, since a process may have other providers besides, and then none is the default.
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
}

/// Has a proxy pass everything on to the host of `url`.
fn open_tunnel(stream: &mut dyn Stream, url: &Url, proxy: &Url) -> io::Result<()> {
    let host =
        format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let credentials = credentials("Proxy-Authorization", proxy);
    write!(stream, "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n")?;
    stream.flush()?;
    Response::read_connected(&mut &mut *stream)
}

/// The header that shows the name and password of an address, if it has them.
fn credentials(header: &str, url: &Url) -> String {
    if url.username().is_empty() && url.password().is_none() {
        return String::new();
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    format!("{header}: Basic {}\r\n", STANDARD.encode(pair))
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.until {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it took more than {FETCH_SECONDS_MAX} s"),
            ));
        }
        self.stream.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {SILENCE_SECONDS_MAX} s"))
            }
            _ => error,
        })
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
