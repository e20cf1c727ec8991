//! One HTTP/1.1 connection (RFC 9112) that is kept and used again, for a load that must cost little itself.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of an answer at most: a page is smaller.
const LONGEST: usize = 1 << 20;

/// A connection of one client.
pub(super) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends a request and returns the body of its answer, which must be 200.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<&[u8], String> {
        self.stream.write_all(request).await.map_err(|e| e.to_string())?;
        self.read.clear();
        let (head, length) = loop {
            if let Some(found) = head(&self.read)? {
                break found;
            }
            self.more().await?;
        };
        while self.read.len() < head + length {
            self.more().await?;
        }
        let body = self.read.get(head..head + length).unwrap_or_default();
        if self.read.starts_with(b"HTTP/1.1 200 ") {
            Ok(body)
        } else {
            let line = self.read.split(|byte| *byte == b'\r').next().unwrap_or_default();
            Err(format!("{}: {}", String::from_utf8_lossy(line), String::from_utf8_lossy(body)))
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        let read = self.stream.read_buf(&mut self.read).await.map_err(|e| e.to_string())?;
        if read == 0 || self.read.len() > LONGEST {
            return Err("the connection ended before its answer, or the answer is too long".to_owned());
        }
        Ok(())
    }
}

/// Where the head of an answer ends and how long its body is; `None` while not all of the head is there.
fn head(read: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(read.get(..end).unwrap_or_default());
    let lengths = text.lines().filter_map(|line| line.split_once(':'));
    let length = lengths
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok());
    let length = length.ok_or_else(|| format!("an answer without a length: {text}"))?;
    Ok(Some((end + 4, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_all_of_it_is_there() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r"), Ok(None));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), Ok(Some((38, 5))));
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
