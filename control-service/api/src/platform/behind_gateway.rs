//! The address of a caller who comes through a gateway. Without it all of them would have that of the service's own
//! sidecar: who guesses tokens would slow down everybody, and records would not tell them apart.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use portcullis_control_config::Principals;
use portcullis_control_services::Current;
use portcullis_control_snapshot::View;

use crate::extract::once;
use crate::xfcc;

/// What the filter at a gateway says of its client. It takes away what a client wrote there.
const CLIENT_ADDRESS: &str = "x-portcullis-client-address";

/// Takes the word of a gateway for whom a request is from.
pub(super) async fn client_of_gateway(
    State(principals): State<Arc<Current<Principals>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    if let Some(client) = peer.and_then(|peer| told(peer, request.headers(), &principals.get())) {
        request.extensions_mut().insert(ConnectInfo(client));
    }
    next.run(request).await
}

/// The address that a gateway tells: only through the service's own sidecar, which is on this machine and has verified the
/// gateway's certificate.
fn told(peer: SocketAddr, headers: &HeaderMap, principals: &Principals) -> Option<SocketAddr> {
    if !peer.ip().is_loopback() {
        return None;
    }
    let principal = xfcc::principal(once(headers, "x-forwarded-client-cert")?).ok()?;
    let address =
        once(headers, CLIENT_ADDRESS).filter(|_| principals.may_read(&principal, &View::Gateway))?;
    std::str::from_utf8(address).ok()?.parse().ok()
}
