//! A replica of a Data API that does as it is told: one connection after the other, and each request counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_mesh::pki::Leaf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a replica does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// 200, after this time.
    Ok(Duration),
    /// 503, as an application says it.
    Unavailable,
    /// The connection ends when the whole request is there.
    CutOff,
}

pub(crate) const AT_ONCE: Answer = Answer::Ok(Duration::ZERO);

pub(crate) struct Replica {
    address: SocketAddr,
    acceptor: TlsAcceptor,
    state: Arc<State>,
    serving: Option<JoinHandle<()>>,
}

struct State {
    name: &'static str,
    answer: Mutex<Answer>,
    seen: AtomicUsize,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Replica {
    /// With the certificate of its workload, as its sidecar would have it.
    pub(crate) async fn start(name: &'static str, address: SocketAddr, leaf: &Leaf) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let state = State { name, answer: Mutex::new(AT_ONCE), seen: AtomicUsize::new(0) };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut replica = Self { address, acceptor, state: Arc::new(state), serving: None };
        replica.start_again().await;
        replica
    }

    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (acceptor, state) = (self.acceptor.clone(), Arc::clone(&self.state));
        self.serving = Some(tokio::spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), stream, Arc::clone(&state)));
            }
        }));
    }

    /// Nobody listens any more, and what was open is gone.
    pub(crate) fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    /// How many requests have come.
    pub(crate) fn seen(&self) -> usize {
        self.state.seen.load(Ordering::SeqCst)
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut read = Vec::new();
    while let Some(rest) = next_request(&mut stream, &mut read).await {
        read = rest;
        state.seen.fetch_add(1, Ordering::SeqCst);
        let answer = *state.answer.lock().unwrap();
        let status = match answer {
            Answer::CutOff => return,
            Answer::Unavailable => "503 Service Unavailable",
            Answer::Ok(after) => {
                tokio::time::sleep(after).await;
                "200 OK"
            }
        };
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{}", state.name.len(), state.name);
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads one whole request, and returns what came after it.
async fn next_request(stream: &mut (impl AsyncReadExt + Unpin), read: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let text = String::from_utf8_lossy(read).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let end = head.len() + 4 + length.map_or(0, |length| length.trim().parse().unwrap());
            if read.len() >= end {
                return Some(read.split_off(end));
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}
