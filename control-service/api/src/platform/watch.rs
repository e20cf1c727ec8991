//! Watching clusters: server-sent events (HTML, "Server-sent events").

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRef, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::clusters::ClusterEvent;
use portcullis_control_domain::caller::Caller;
use portcullis_control_services::watchers::{Ended, Event, Place, WAITING, Watchers};
use portcullis_control_snapshot::ClusterNews;
use portcullis_control_store::Store;
use tokio::sync::{mpsc, oneshot};

use super::guard::Routes;
use crate::{PlatformState, Problem, ProblemKind, Stopping};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.on(Call::WatchClusters, watch)
}

/// What a watch needs.
#[derive(Clone)]
struct Watching {
    store: Store,
    watchers: Arc<Watchers>,
    stopping: Stopping,
}

impl FromRef<PlatformState> for Watching {
    fn from_ref(state: &PlatformState) -> Self {
        let PlatformState { store, watchers, stopping, .. } = state;
        Self { store: store.clone(), watchers: Arc::clone(watchers), stopping: stopping.clone() }
    }
}

async fn watch(
    State(Watching { store, watchers, stopping }): State<Watching>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    store.check_fresh()?;
    let full = "as many watch as may; end another watch of yours, or try again later";
    let watcher = watchers.enter(caller).ok_or_else(|| Problem::new(ProblemKind::ShareTaken, full))?;
    // Who brings what this service never gave out is told as one who was never here.
    let last = headers.get("last-event-id").and_then(|id| Place::read(id.to_str().ok()?));
    let (events, waiting) = mpsc::channel(WAITING);
    let (ended, why) = oneshot::channel();
    tokio::spawn(async move {
        let why = watcher.tell(last, events, stopping.0).await;
        if ended.send(why).is_err() {
            tracing::debug!("a watcher went away");
        }
    });
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((head, Body::new(Events { waiting, why: Some(why), last })).into_response())
}

/// The events as they are sent.
struct Events {
    waiting: mpsc::Receiver<Event>,
    why: Option<oneshot::Receiver<Ended>>,
    /// Up to where the watcher was told.
    last: Option<Place>,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(event) = ready!(self.waiting.poll_recv(context)) {
            if let Event::Cluster(place, _) | Event::Resync(place) = &event {
                self.last = Some(*place);
            }
            return Poll::Ready(Some(Ok(Frame::data(written(&event).into()))));
        }
        let Some(ended) = self.why.as_mut() else { return Poll::Ready(None) };
        let why = ready!(Pin::new(ended).poll(context));
        self.why = None;
        let place = self.last.filter(|_| why == Ok(Ended::Slow));
        Poll::Ready(place.map(|place| Ok(Frame::data(written(&Event::Resync(place)).into()))))
    }
}

/// An event as it stands on the wire.
fn written(event: &Event) -> String {
    match event {
        Event::Alive => ":\n\n".to_owned(),
        Event::Resync(place) => ["event: resync\nid: ", &place.to_text(), "\ndata: {}\n\n"].concat(),
        Event::Cluster(place, ClusterNews { id, tenant, state, revision }) => {
            let event =
                ClusterEvent { id: id.clone(), tenant: tenant.clone(), state: *state, revision: *revision };
            // It has names and numbers only, which JSON can always hold.
            let data = serde_json::to_string(&event).unwrap_or_default();
            ["event: cluster\nid: ", &place.to_text(), "\ndata: ", &data, "\n\n"].concat()
        }
    }
}
