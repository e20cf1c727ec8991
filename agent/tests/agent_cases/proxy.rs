//! An HTTP proxy that lets connections through, to those who know its password.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxy {
    pub(crate) at: SocketAddr,
    /// What was asked for.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Lets through what is asked for with `me:p@ss`, unless its port is `refused`. Names are its own business: every one is
    /// this machine.
    pub(crate) async fn start(refused: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, refused, Arc::clone(&seen)));
            }
        });
        Self { at, asked }
    }

    pub(crate) fn url(&self, password: &str) -> String {
        format!("http://me:{password}@{}", self.at)
    }
}

async fn serve(stream: TcpStream, refused: Option<u16>, seen: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let (mut target, mut authorized) = (String::new(), false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            // me:p@ss
            "Proxy-Authorization: Basic bWU6cEBzcw==" => authorized = true,
            line => {
                if let Some(rest) = line.strip_prefix("CONNECT ") {
                    target = rest.split(' ').next().unwrap().to_owned();
                }
            }
        }
    }
    seen.lock().unwrap().push(target.clone());
    let port: u16 = target.rsplit(':').next().unwrap().parse().unwrap();
    if !authorized {
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
    } else if refused == Some(port) {
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
    } else {
        let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut far).await;
    }
}
