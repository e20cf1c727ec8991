//! A client and upstreams that speak HTTP/1.1 byte by byte, so that nothing is tidied up on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::PATIENCE;
use super::case::{Body, Message, Sent};

/// A parsed message: first line, headers, body, trailers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    pub(crate) start: String,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Raw {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    fn message(&self, pseudo: &[(&str, &str)]) -> Message {
        let pseudo = pseudo.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let pair = |(n, v): &'_ (Vec<u8>, Vec<u8>)| (n.clone(), v.clone());
        let headers: Vec<_> = self.headers.iter().map(pair).collect();
        let trailers: Vec<_> = self.trailers.iter().map(pair).collect();
        Message::new(
            pseudo.chain(headers.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))),
            &self.body,
            trailers.iter().map(|(n, v)| (n.as_slice(), v.as_slice())),
        )
    }
}

fn line(from: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        line.pop();
    }
    Ok(line)
}

fn headers(from: &mut impl BufRead) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut headers = Vec::new();
    loop {
        let line = line(from)?;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Ok(headers) };
        headers.push((line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec()));
    }
}

fn read(from: &mut impl BufRead, response: bool) -> std::io::Result<Raw> {
    let start = String::from_utf8_lossy(&line(from)?).into_owned();
    let mut raw = Raw { start, headers: headers(from)?, ..Raw::default() };
    if raw.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let size = String::from_utf8_lossy(&line(from)?).into_owned();
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            if size == 0 {
                raw.trailers = headers(from)?;
                return Ok(raw);
            }
            let mut chunk = vec![0; size];
            from.read_exact(&mut chunk)?;
            raw.body.extend(chunk);
            line(from)?;
        }
    }
    if let Some(length) = raw.header("content-length").and_then(|value| value.parse().ok()) {
        raw.body = vec![0; length];
        from.read_exact(&mut raw.body)?;
    } else if response && !raw.start.contains(" 204") && !raw.start.contains(" 304") {
        from.read_to_end(&mut raw.body)?;
    }
    Ok(raw)
}

/// Sends a request over a connection of its own. `None`: the connection ended without an answer.
///
/// # Errors
/// If there is no connection.
pub(crate) fn send(to: SocketAddr, sent: &Sent) -> std::io::Result<Option<Message>> {
    let stream = TcpStream::connect(to)?;
    Ok(exchange(stream, sent))
}

fn exchange(mut stream: TcpStream, sent: &Sent) -> Option<Message> {
    std::thread::sleep(Duration::from_millis(sent.pause));
    stream.set_read_timeout(Some(Duration::from_secs(sent.patience))).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    let mut bytes = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", sent.method, sent.path).into_bytes();
    for (name, value) in &sent.headers {
        bytes.extend([name, &b": "[..], value, b"\r\n"].concat());
    }
    match &sent.body {
        Body::None => bytes.extend(b"\r\n"),
        Body::Whole(body) => {
            bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend(body);
        }
        Body::Chunks(..) | Body::Unfinished(_) => bytes.extend(b"transfer-encoding: chunked\r\n\r\n"),
    }
    stream.write_all(&bytes).ok()?;
    send_chunks(&mut stream, &sent.body).ok()?;
    let mut reader = BufReader::new(stream);
    let raw = if sent.method == "HEAD" { head(&mut reader) } else { read(&mut reader, true) };
    let raw = raw.ok()?;
    let status = raw.start.split(' ').nth(1).unwrap_or_default().to_owned();
    Some(raw.message(&[(":status", &status)]))
}

/// The chunks of a body, and its end if it has one.
fn send_chunks(to: &mut TcpStream, body: &Body) -> std::io::Result<()> {
    let (chunks, trailers) = match body {
        Body::None | Body::Whole(_) => return Ok(()),
        Body::Chunks(chunks, trailers) => (chunks, Some(trailers)),
        Body::Unfinished(chunks) => (chunks, None),
    };
    // One read of Envoy's each, so that it sees the parts as they are.
    let pause = || std::thread::sleep(Duration::from_millis(30));
    for chunk in chunks {
        pause();
        to.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
    }
    let Some(trailers) = trailers else { return Ok(()) };
    pause();
    let trailers: String = trailers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    to.write_all(format!("0\r\n{trailers}\r\n").as_bytes())
}

/// The body of a page; empty if it cannot be had.
pub(crate) fn fetch(from: SocketAddr, path: &str) -> String {
    ask(from, "GET", path)
}

/// Posts nothing to a page, for what that does.
pub(crate) fn post(to: SocketAddr, path: &str) {
    ask(to, "POST", path);
}

fn ask(from: SocketAddr, method: &str, path: &str) -> String {
    let ask = || -> std::io::Result<Raw> {
        let mut stream = TcpStream::connect(from)?;
        // An admin page does not answer while its Envoy compiles.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(
            format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").as_bytes(),
        )?;
        read(&mut BufReader::new(stream), true)
    };
    ask().map_or_else(|_| String::new(), |raw| String::from_utf8_lossy(&raw.body).into_owned())
}

fn head(from: &mut impl BufRead) -> std::io::Result<Raw> {
    let start = String::from_utf8_lossy(&line(from)?).into_owned();
    Ok(Raw { start, headers: headers(from)?, ..Raw::default() })
}

/// How long a slow answer takes.
pub(crate) const SLOW: Duration = Duration::from_millis(300);

/// What an upstream does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    Answer {
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: Body,
    },
    Reset,
    Never,
    /// The usual answer, after 300 ms.
    Slow,
    /// The usual answer, when the test says so.
    Held,
}

/// The answers that requests name in `x-answer`, on both sides.
pub(crate) fn reaction(name: &str) -> Reaction {
    let answer = |status, headers: &[(&'static str, &'static str)], body: Body| Reaction::Answer {
        status,
        headers: headers.to_vec(),
        body,
    };
    let chunks = |chunks: &[&str], trailers: &[(&str, &str)]| {
        Body::Chunks(
            chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect(),
            trailers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        )
    };
    match name {
        "empty" => answer(200, &[], Body::Whole(Vec::new())),
        "teapot" => answer(418, &[("x-kind", "teapot")], Body::Whole(b"short and stout".to_vec())),
        "cookies" => {
            answer(200, &[("set-cookie", "a=1"), ("set-cookie", "b=2")], Body::Whole(b"two".to_vec()))
        }
        "chunks" => answer(200, &[], chunks(&["one ", "two ", "three"], &[])),
        "trailers" => answer(200, &[], chunks(&["body"], &[("x-sum", "42")])),
        "no-content" => answer(204, &[], Body::None),
        "grpc" => answer(
            200,
            &[("content-type", "application/grpc")],
            chunks(&["\0\0\0\0\x04pong"], &[("grpc-status", "0")]),
        ),
        "large" => answer(200, &[("x-from", "upstream")], Body::Whole(vec![b'l'; 1_200_000])),
        "forged" => answer(200, &[("x-portcullis-subject", "mallory")], Body::Whole(b"f".to_vec())),
        "slow" => Reaction::Slow,
        "held" => Reaction::Held,
        "reset" => Reaction::Reset,
        "never" => Reaction::Never,
        "stall" => answer(200, &[("x-from", "upstream")], Body::Unfinished(vec![b"half".to_vec()])),
        _ => answer(200, &[("x-from", "upstream")], Body::Whole(b"hello".to_vec())),
    }
}

/// A server on loopback that reacts as requests say and keeps what it saw by their `x-case`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    seen: Mutex<BTreeMap<String, Message>>,
    /// The cases whose held requests are answered now.
    released: Mutex<BTreeSet<String>>,
    release: Condvar,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A broken connection is what some cases want to see.
                std::thread::spawn(move || serve(stream, &state).ok());
            }
        });
        Self { address, state }
    }

    pub(crate) fn seen(&self, case: &str) -> Option<Message> {
        lock(&self.state.seen).get(case).cloned()
    }

    /// The same, once.
    pub(crate) fn take(&self, case: &str) -> Option<Message> {
        lock(&self.state.seen).remove(case)
    }

    /// Answers a held request, now or when it comes.
    pub(crate) fn release(&self, case: &str) {
        lock(&self.state.released).insert(case.to_owned());
        self.state.release.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let raw = read(&mut reader, false)?;
        let mut start = raw.start.split(' ');
        let (method, path) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
        let case = raw.header("x-case").unwrap_or_default();
        let message = raw.message(&[(":method", method), (":path", path)]);
        lock(&state.seen).insert(case.clone(), message);
        match reaction(&raw.header("x-answer").unwrap_or_default()) {
            Reaction::Slow => {
                std::thread::sleep(SLOW);
                usual(&mut writer)?;
            }
            Reaction::Held => {
                let waits = |released: &mut BTreeSet<String>| !released.contains(&case);
                drop(state.release.wait_while(lock(&state.released), waits));
                usual(&mut writer)?;
            }
            Reaction::Reset => return Ok(()),
            Reaction::Never => std::thread::sleep(Duration::from_secs(60)),
            Reaction::Answer { status, headers, body } => respond(&mut writer, status, &headers, &body)?,
        }
    }
}

fn usual(to: &mut TcpStream) -> std::io::Result<()> {
    match reaction("") {
        Reaction::Answer { status, headers, body } => respond(to, status, &headers, &body),
        other => panic!("the usual answer is {other:?}"),
    }
}

fn respond(to: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &Body) -> std::io::Result<()> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").as_bytes());
    }
    match body {
        Body::None => {
            bytes.extend(b"\r\n");
            to.write_all(&bytes)
        }
        Body::Whole(body) => {
            bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend(body);
            to.write_all(&bytes)
        }
        Body::Chunks(..) | Body::Unfinished(_) => {
            bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
            to.write_all(&bytes)?;
            send_chunks(to, body)
        }
    }
}
