//! A replica of a Data API that does as it is told, over HTTP/2 as the gateway speaks it: each request is counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_mesh::pki::Leaf;
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
    /// The stream is reset when the request is there.
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
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|_| answer(Arc::clone(&state)));
    // It ends with the connection, whoever ends that.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(state: Arc<State>) -> std::io::Result<Response<Full<Bytes>>> {
    state.seen.fetch_add(1, Ordering::SeqCst);
    let answer = *state.answer.lock().unwrap();
    let status = match answer {
        Answer::CutOff => return Err(std::io::Error::other("as the test wants it")),
        Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Answer::Ok(after) => {
            tokio::time::sleep(after).await;
            StatusCode::OK
        }
    };
    let mut response = Response::new(Full::new(Bytes::from_static(state.name.as_bytes())));
    *response.status_mut() = status;
    Ok(response)
}
