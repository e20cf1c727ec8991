//! One connection that has a place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portcullis_control_config::Limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::idle::Member;
use super::tls::{ConnectionPeer, Tls};

/// Time for a connection that gives way to finish what it was sending.
pub(super) const GRACE: Duration = Duration::from_millis(50);
/// The same for one that has asked nothing yet: its first request may just be on its way.
const GRACE_OF_NEW: Duration = Duration::from_millis(5);

/// What a listener answers with.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) routes: Router,
    /// By TLS, where this is there.
    pub(super) tls: Option<Arc<Tls>>,
}

pub(super) async fn is_stopping(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the service has ended.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A connection that was taken.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) member: Arc<Member>,
    pub(super) slot: OwnedSemaphorePermit,
}

impl Client {
    pub(super) async fn served(self, answers: Answers, limits: Limits, mut stopping: watch::Receiver<bool>) {
        let Self { stream, peer, member, slot } = self;
        // A page that wakes a worker must not wait for Nagle's algorithm.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Answers { routes, tls } = answers;
        let routes = routes.layer(Extension(ConnectInfo(peer)));
        let connection = Connection { peer, member, limits };
        let Some(tls) = tls else {
            connection.served(stream, routes, stopping).await;
            return drop(slot);
        };
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(limits.header_time, tls.accepted(stream)) => accepted.ok().flatten(),
            () = is_stopping(&mut stopping) => None,
            // Nothing was asked on it.
            () = connection.member.is_asked() => None,
        };
        if let Some((stream, proved)) = accepted {
            let routes = routes.layer(Extension(ConnectionPeer(proved)));
            connection.served(stream, routes, stopping).await;
        }
        drop(slot);
    }
}

/// What is known of a connection, however its bytes come.
struct Connection {
    peer: SocketAddr,
    member: Arc<Member>,
    limits: Limits,
}

impl Connection {
    async fn served(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        routes: Router,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Self { peer, member, limits } = self;
        let routes = TowerToHyperService::new(routes);
        let service = service_fn(|request| {
            let under_way = member.begin();
            let answer = routes.call(request);
            async move {
                let answer = answer.await;
                drop(under_way);
                answer
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.header_time);
        let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let outcome = tokio::select! {
            outcome = served.as_mut() => outcome,
            () = is_stopping(&mut stopping) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
            () = member.is_asked() => {
                // The first request of a new one may lie unread in its socket, and a connection that is told to
                // shut down reads no more. So it is served for a moment before that.
                let first = tokio::time::timeout(GRACE_OF_NEW, served.as_mut());
                match if member.is_new() { first.await.ok() } else { None } {
                    Some(outcome) => outcome,
                    None if member.is_new() => Ok(()),
                    None => {
                        served.as_mut().graceful_shutdown();
                        match tokio::time::timeout(GRACE, served.as_mut()).await {
                            Ok(outcome) => outcome,
                            Err(_) if member.is_busy() => served.await,
                            Err(_) => Ok(()),
                        }
                    }
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}
