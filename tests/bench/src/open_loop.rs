//! Open-loop load: requests at a constant rate, whatever the answers do.
//!
//! A request that finds no free connection waits, and its latency counts from the moment at which it was
//! meant to be sent. So a pause of the proxy shows in every request that fell into it, which a closed loop
//! hides by sending less ("coordinated omission").

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;

use crate::error::{BenchError, Result};
use crate::world::Credential;

/// What to send, where, and how fast.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The listeners, in turn.
    pub targets: &'a [SocketAddr],
    /// The credentials, in turn.
    pub credentials: &'a [Credential],
    /// Requests per second over all targets.
    pub rate: f64,
    /// Connections over all targets.
    pub connections: usize,
    /// How long to send.
    pub duration: Duration,
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// When it was there.
    pub at: Instant,
    /// Since the request was meant to be sent.
    pub latency: Duration,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    meant_at: Instant,
}

/// Sends, and hands every answer on until that says to stop.
///
/// # Errors
/// When a connection breaks, or the rate could not be kept at all.
pub(crate) fn run(plan: &Plan<'_>, mut on_answer: impl FnMut(Answer) -> ControlFlow<()>) -> Result<()> {
    let failed = |e: std::io::Error| BenchError::io("load", "a listener in the open loop")(e);
    let requests: Vec<Vec<u8>> = plan.credentials.iter().map(request).collect();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut connections = connect(plan, &epoll).map_err(failed)?;
    let mut idle: Vec<usize> = (0..connections.len()).collect();
    let mut events = Vec::with_capacity(connections.len());
    let begin = Instant::now();
    let gap = Duration::from_secs_f64(1.0 / plan.rate);
    let total = (plan.duration.as_secs_f64() * plan.rate).round() as u32;
    let (mut sent, mut answered) = (0_u32, 0_u32);
    while answered < total {
        let now = Instant::now();
        let mut due = begin + gap * sent;
        while sent < total && due <= now {
            let Some(at) = idle.pop() else { break };
            let (Some(connection), Some(request)) =
                (connections.get_mut(at), requests.get(sent as usize % requests.len()))
            else {
                break;
            };
            connection.meant_at = due;
            connection.stream.write_all(request).map_err(failed)?;
            sent += 1;
            due = begin + gap * sent;
        }
        if now > begin + plan.duration * 3 + Duration::from_secs(5) {
            return Err(BenchError::invalid("the open loop", "the proxy cannot keep up with the rate"));
        }
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&none)).map_err(|e| failed(e.into()))?;
        if events.is_empty() {
            // Lets the mesh API have this core when it has something to do.
            rustix::thread::sched_yield();
        }
        for event in &events {
            let at = event.data.u64() as usize;
            let Some(connection) = connections.get_mut(at) else { continue };
            let Some(status) = connection.receive().map_err(failed)? else { continue };
            answered += 1;
            // The last used connection is the next: its state is warm, as in a pool.
            idle.push(at);
            let at = Instant::now();
            if on_answer(Answer { status, at, latency: at - connection.meant_at }).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn request(credential: &Credential) -> Vec<u8> {
    let Credential { authorization, cluster } = credential;
    let lines = [
        "GET /v1/objects/42 HTTP/1.1",
        "host: 127.0.0.1",
        &["authorization: ", authorization].concat(),
        &["x-target-cluster: ", cluster].concat(),
        "\r\n",
    ];
    lines.join("\r\n").into_bytes()
}

fn connect(plan: &Plan<'_>, epoll: impl std::os::fd::AsFd) -> std::io::Result<Vec<Connection>> {
    plan.targets
        .iter()
        .cycle()
        .take(plan.connections)
        .enumerate()
        .map(|(number, target)| {
            let stream = TcpStream::connect(target)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            Ok(Connection { stream, buffer: Vec::new(), meant_at: Instant::now() })
        })
        .collect()
}

impl Connection {
    /// Reads what is there; the status once the answer is whole.
    fn receive(&mut self) -> std::io::Result<Option<u16>> {
        let mut chunk = [0_u8; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let whole = whole(&self.buffer);
        if whole.is_some() {
            self.buffer.clear();
        }
        Ok(whole)
    }
}

/// The status of an answer that is complete: head, and as many bytes of body as it announces.
fn whole(bytes: &[u8]) -> Option<u16> {
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..head_end)?).ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    if bytes.len() < head_end + 4 + length {
        return None;
    }
    head.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(whole(text), Some(200));
        assert_eq!(whole(&text[..text.len() - 1]), None);
        assert_eq!(whole(b"HTTP/1.1 403 Forbidden\r\n\r\n"), Some(403));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
