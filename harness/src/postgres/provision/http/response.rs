//! What a server answers.

use std::io::{self, Read};

/// How long a line may be, and how many of them a head may have.
const LINE_BYTES_MAX: u64 = 16 << 10;
const LINES_MAX: usize = 200;

/// An answer; of one that is not a success only the head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

/// How the end of a body is told.
#[derive(Debug, Default)]
enum Length {
    /// The server hangs up.
    #[default]
    ToTheEnd,
    Known(u64),
    Chunked,
}

impl Response {
    /// Reads an answer, and not a byte beyond a head without a body.
    pub(super) fn read(stream: &mut dyn Read) -> io::Result<Response> {
        let (mut response, length) = loop {
            let head = Response::read_head(stream)?;
            // Those below 200 announce another.
            if head.0.status >= 200 {
                break head;
            }
        };
        if response.status == 200 {
            match length {
                Length::ToTheEnd => drop(stream.read_to_end(&mut response.body)?),
                Length::Known(length) => read_exactly(stream, length, &mut response.body)?,
                Length::Chunked => read_chunks(stream, &mut response.body)?,
            }
        }
        Ok(response)
    }

    /// Reads the answer to a `CONNECT`, after which the stream is somebody else's.
    pub(super) fn read_connected(stream: &mut dyn Read) -> io::Result<()> {
        let (Response { status, reason, .. }, _) = Response::read_head(stream)?;
        match status {
            200..300 => Ok(()),
            _ => Err(io::Error::other(format!("the proxy answers with HTTP status {status} {reason}"))),
        }
    }

    fn read_head(stream: &mut dyn Read) -> io::Result<(Response, Length)> {
        let first = read_line(stream)?;
        let mut words = first.splitn(3, ' ');
        let (version, status) = (words.next(), words.next().and_then(|status| status.parse().ok()));
        let (Some(status), true) = (status, version.is_some_and(|version| version.starts_with("HTTP/1.")))
        else {
            return Err(malformed("it is no answer of HTTP/1.1"));
        };
        let reason = words.next().unwrap_or_default().to_owned();
        let mut response = Response { status, reason, ..Response::default() };
        let mut length = Length::default();
        for _ in 0..LINES_MAX {
            let line = read_line(stream)?;
            if line.is_empty() {
                return Ok((response, length));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header has no name"))?;
            let value = value.trim();
            match (name.to_ascii_lowercase().as_str(), &length) {
                ("location", _) => response.location = Some(value.to_owned()),
                ("transfer-encoding", _) if value.eq_ignore_ascii_case("chunked") => length = Length::Chunked,
                ("transfer-encoding", _) => return Err(malformed("its body is encoded in an unknown way")),
                ("content-length", Length::ToTheEnd) => {
                    length = Length::Known(value.parse().map_err(|_| malformed("its length is no number"))?);
                }
                _ => {}
            }
        }
        Err(malformed("its head has no end"))
    }
}

fn read_chunks(stream: &mut dyn Read, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk has no size"))?;
        if size == 0 {
            // What may follow are more headers.
            return Ok(());
        }
        read_exactly(stream, size, body)?;
        if !read_line(stream)?.is_empty() {
            return Err(malformed("a chunk is longer than it says"));
        }
    }
}

fn read_exactly(stream: &mut dyn Read, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    match stream.take(length).read_to_end(body)? as u64 == length {
        true => Ok(()),
        false => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the file did"))
        }
    }
}

/// A line without its end.
#[expect(clippy::unbuffered_bytes, reason = "what comes after the line may be for somebody else")]
fn read_line(stream: &mut dyn Read) -> io::Result<String> {
    let mut line = Vec::new();
    for byte in stream.take(LINE_BYTES_MAX).bytes() {
        match byte? {
            b'\n' => {
                let end = line.strip_suffix(b"\r").unwrap_or(&line);
                return Ok(String::from_utf8_lossy(end).into_owned());
            }
            byte => line.push(byte),
        }
    }
    match line.len() as u64 == LINE_BYTES_MAX {
        true => Err(malformed("a line of it has no end")),
        false => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer did"))
        }
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("HTTP/1.1 200 OK\r\n\r\nfile", Ok("file"))]
    #[case("HTTP/1.0 200\nServer: x\n\nfile", Ok("file"))]
    #[case("HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2\r\n\r\nfile", Ok("fi"))]
    #[case(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfile",
        Err("the connection ended before the file did")
    )]
    #[case("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nfile", Err("its length is no number"))]
    #[case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nfi\r\n2\r\nle\r\n0\r\n\r\n",
        Ok("file")
    )]
    // Chunks count, whatever the length says.
    #[case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n4\r\nfile\r\n0\r\n\r\n",
        Ok("file")
    )]
    #[case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfile\r\n",
        Err("a chunk is longer than it says")
    )]
    #[case("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Err("a chunk has no size"))]
    #[case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfile",
        Err("the connection ended before the answer did")
    )]
    #[case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        Err("its body is encoded in an unknown way")
    )]
    #[case("HTTP/1.1 200 OK\r\nServer: x\r\n", Err("the connection ended before the answer did"))]
    #[case("HTTP/1.1 200 OK\r\nServer\r\n\r\n", Err("a header has no name"))]
    #[case("SSH-2.0-OpenSSH_9.2\r\n", Err("it is no answer of HTTP/1.1"))]
    #[case("HTTP/1.1 wrong\r\n\r\n", Err("it is no answer of HTTP/1.1"))]
    fn bodies_are_read_whole_or_not_at_all(#[case] answer: &str, #[case] expect: Result<&str, &str>) {
        let read = Response::read(&mut answer.as_bytes());
        let found = read.map(|response| String::from_utf8(response.body).unwrap());
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expect.map(str::to_owned).map_err(str::to_owned)
        );
    }

    #[test]
    fn heads_without_an_end_are_not_read_for_ever() {
        for (endless, why) in
            [("x", "a line of it has no end"), ("HTTP/1.1 200 OK\r\na: b\r\n", "its head has no end")]
        {
            let lines = endless.lines().next().unwrap_or_default().len() > 1;
            let text = if lines {
                format!("{endless}{}", "a: b\r\n".repeat(LINES_MAX))
            } else {
                endless.repeat(1 << 20)
            };
            assert_eq!(Response::read(&mut text.as_bytes()).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn a_proxy_that_refuses_is_quoted_and_nothing_behind_its_head_is_read() {
        let mut stream = "HTTP/1.1 200 Established\r\n\r\nhello".as_bytes();
        Response::read_connected(&mut stream).unwrap();
        assert_eq!(stream, b"hello");
        let error = Response::read_connected(&mut "HTTP/1.1 407 Who are you\r\n\r\n".as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the proxy answers with HTTP status 407 Who are you");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>, chunked: bool) {
            let head = if chunked { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { "" };
            let _ = Response::read(&mut [head.as_bytes(), &bytes].concat().as_slice());
        }

        #[test]
        fn chunks_come_back_as_one(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8)) {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in &parts {
                answer.extend(format!("{:x}\r\n", part.len()).bytes().chain(part.iter().copied()).chain(*b"\r\n"));
            }
            answer.extend(b"0\r\n\r\n");
            prop_assert_eq!(Response::read(&mut answer.as_slice()).unwrap().body, parts.concat());
        }
    }
}
