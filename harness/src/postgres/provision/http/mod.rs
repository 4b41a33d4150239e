//! Fetching a file by HTTP, and no more than that takes: a GET, each on a connection of its own.
//!
//! A client from the registry would bring some twenty crates and half of what the harness adds to a build, for two
//! files once per machine. Whom to trust is not decided here: that is rustls' and the system's verifier's.

mod connection;
mod proxy;
mod response;

use crate::error::{Error, Result};
use crate::secret::redact_url;
use crate::wait;
use connection::Client;
use response::Response;
use std::io;
use std::time::Duration;
use url::Url;

const TRIES: u32 = 3;
const REDIRECTS_MAX: usize = 10;

/// Why there is no file.
#[derive(Debug)]
enum Failure {
    /// It would be the same another time.
    Lasting(io::Error),
    /// A server that is busy, a network that is not there yet.
    Passing(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::InvalidInput => Failure::Lasting(error),
            _ => Failure::Passing(error),
        }
    }
}

/// Fetches the file at `url`, through the proxy that the environment names.
///
/// # Errors
/// There is no such file, or no way to it.
pub(super) fn get(url: &str) -> Result<Vec<u8>> {
    let mut client = Client::from_env();
    let mut tries = 1;
    loop {
        let error = match follow(&mut client, url) {
            Ok(file) => return Ok(file),
            Err(Failure::Passing(_)) if tries < TRIES => {
                wait::block(Duration::from_millis(250) * tries);
                tries += 1;
                continue;
            }
            Err(Failure::Passing(error) | Failure::Lasting(error)) => error,
        };
        return Err(Error::environment(format!("failed to fetch `{}`", redact_url(url))).with_source(error));
    }
}

/// Asks for `url`, and for what it leads to.
fn follow(client: &mut Client, url: &str) -> std::result::Result<Vec<u8>, Failure> {
    let mut url = Url::parse(url).map_err(invalid)?;
    for _ in 0..=REDIRECTS_MAX {
        let Response { status, reason, location, body } = client.ask(&url)?;
        match (status, location) {
            (200, _) => return Ok(body),
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                let next = url.join(&location).map_err(invalid)?;
                if url.scheme() == "https" && next.scheme() != "https" {
                    return Err(Failure::Lasting(io::Error::other("it leads to where nothing is encrypted")));
                }
                url = next;
            }
            (400..500, _) => {
                let why = format!("HTTP status client error ({status} {reason})");
                return Err(Failure::Lasting(io::Error::other(why)));
            }
            (500.., _) => {
                let why = format!("HTTP status server error ({status} {reason})");
                return Err(Failure::Passing(io::Error::other(why)));
            }
            _ => return Err(Failure::Lasting(io::Error::other(format!("HTTP status {status} {reason}")))),
        }
    }
    Err(Failure::Lasting(io::Error::other(format!("it leads on more than {REDIRECTS_MAX} times"))))
}

/// What nobody needs to try again.
fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Answers one question after the other, `{here}` standing for its own address; gives back the questions.
    fn serve(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let address = here.clone();
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(io::Result::ok);
                asked.push(lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
                stream.write_all(answer.replace("{here}", &here).as_bytes()).unwrap();
            }
            asked
        });
        (address, server)
    }

    fn fetched(url: &str) -> std::result::Result<String, String> {
        get(url).map(|file| String::from_utf8(file).unwrap()).map_err(|error| {
            format!(
                "{error}: {}",
                std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
            )
        })
    }

    #[test]
    fn redirects_are_followed_and_a_password_stays_with_its_host() {
        let (here, server) = serve(&[
            "HTTP/1.1 302 Found\r\nLocation: /b?c=1\r\n\r\n",
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{here}/d\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile, and more",
        ]);
        assert_eq!(fetched(&format!("http://me:a%20b@{here}/a")), Ok("file".into()));
        let asked = server.join().unwrap();
        let firsts: Vec<_> = asked.iter().map(|head| head.lines().next().unwrap()).collect();
        assert_eq!(firsts, ["GET /a HTTP/1.1", "GET /b?c=1 HTTP/1.1", "GET /d HTTP/1.1"]);
        // `me:a b`, also where the address is relative; the third names no user.
        assert!(asked[0].contains("\nAuthorization: Basic bWU6YSBi\n"), "{}", asked[0]);
        assert!(asked[0].contains(&format!("\nHost: {here}\n")), "{}", asked[0]);
        assert!(!asked[2].contains("Authorization"), "{}", asked[2]);
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
        let (here, server) = serve(&[
            "HTTP/1.1 503 Busy\r\n\r\n",
            // It hangs up in the middle.
            "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nfi",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nfile",
        ]);
        assert_eq!(fetched(&format!("http://{here}/")), Ok("file".into()));
        assert_eq!(server.join().unwrap().len(), 3);
        let (here, server) = serve(&["HTTP/1.1 404 Not Found\r\n\r\n"]);
        let error = fetched(&format!("http://me:secret@{here}/x")).unwrap_err();
        assert_eq!(
            error,
            format!("failed to fetch `http://me:***@{here}/x`: HTTP status client error (404 Not Found)")
        );
        assert_eq!(server.join().unwrap().len(), 1);
    }

    #[test]
    fn what_leads_in_a_circle_or_nowhere_is_refused() {
        let (here, server) =
            serve(&["HTTP/1.1 301 Moved\r\nLocation: http://{here}/\r\n\r\n"; REDIRECTS_MAX + 1]);
        let error = fetched(&format!("http://{here}/")).unwrap_err();
        assert!(error.ends_with(": it leads on more than 10 times"), "{error}");
        server.join().unwrap();
        for (url, why) in
            [("ftp://127.0.0.1/x", "`ftp` is not HTTP"), ("no address", "relative URL without a base")]
        {
            let error = fetched(url).unwrap_err();
            assert!(error.ends_with(why), "{error}");
        }
    }
}
