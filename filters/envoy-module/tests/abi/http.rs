//! HTTP/1.1 by hand: a client that can send what a library would not, and a server that shows what
//! it got.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All values of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let of = |line: &'_ str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head
            .lines()
            .filter(|line| of(line))
            .filter_map(|line| Some(line.split_once(':')?.1.trim()))
            .collect()
    }
}

/// Opens a connection.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A `GET`, with further header lines.
pub(crate) fn get(to: SocketAddr, path: &str, headers: &[&str]) -> Response {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    send(to, format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n{lines}\r\n").as_bytes())
}

/// A `POST` with a body.
pub(crate) fn post(to: SocketAddr, path: &str, body: &[u8]) -> Response {
    let size = body.len();
    let mut request =
        format!("POST {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n")
            .into_bytes();
    request.extend_from_slice(body);
    send(to, &request)
}

/// Sends bytes as they are, and reads until the connection ends.
pub(crate) fn send(to: SocketAddr, request: &[u8]) -> Response {
    try_send(to, request).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(request)))
}

/// The same, where it may fail.
pub(crate) fn try_send(to: SocketAddr, request: &[u8]) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
        .ok_or_else(|| std::io::Error::other(format!("no response: {:?}", String::from_utf8_lossy(&bytes))))
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = bytes[end + 4..].to_vec();
    let body = if head.contains("transfer-encoding: chunked") { unchunk(&body) } else { body };
    Some(Response { status, head, body })
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = find(rest, b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size @ 1..) = size else { break };
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
    }
    body
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Starts a server whose answers are by path: `/slow` never answers, `/reset` and `/cut` end the
/// connection, `/trailers` answers with trailers, `/teapot` is 418; everything else shows the request.
pub(crate) fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let mut seen = Vec::new();
    loop {
        while !complete(&seen) {
            let mut piece = [0; 65536];
            let size = stream.read(&mut piece).ok().filter(|size| *size > 0)?;
            seen.extend_from_slice(&piece[..size]);
        }
        let path = String::from_utf8_lossy(&seen).split(' ').nth(1)?.to_owned();
        match path.as_str() {
            "/reset" => return None,
            // Ends in the middle of its body.
            "/cut" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this");
                return None;
            }
            "/trailers" | "/panic/response_trailers" => {
                let answer =
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-end: 1\r\n\r\n";
                stream.write_all(answer).ok()?;
                seen.clear();
                continue;
            }
            "/slow" => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 64]);
                return None;
            }
            _ => {}
        }
        let status = if path == "/teapot" { "418 teapot" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {status}\r\nx-upstream: yes\r\nx-secret: 1\r\ncontent-length: {}\r\n\r\n",
            seen.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&seen).ok()?;
        seen.clear();
    }
}

/// Whether a whole request is there.
fn complete(seen: &[u8]) -> bool {
    let Some(end) = find(seen, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
    let body = &seen[end + 4..];
    if head.contains("transfer-encoding: chunked") {
        return find(body, b"0\r\n").is_some() && body.ends_with(b"\r\n\r\n");
    }
    let size = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= size.unwrap_or(0)
}
