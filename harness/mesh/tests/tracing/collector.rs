//! An OpenTelemetry collector as far as a test needs one: spans by OTLP over gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// `ExportTraceServiceRequest`, by the numbers of opentelemetry/proto: what the test reads of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Attributes>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

/// `Resource`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Attributes {
    #[prost(message, repeated, tag = "1")]
    list: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<OneSpan>,
}

/// `Span`.
#[derive(Clone, PartialEq, prost::Message)]
struct OneSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Text>,
}

/// `AnyValue`, where it is a text.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

/// What came of a span.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// `service.name`, and the span's own.
    attributes: Vec<(String, String)>,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// Everything that it tells.
    pub(crate) fn text(&self) -> String {
        format!("{self:?}")
    }
}

/// All spans that came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Vec<Span>>>);

impl Spans {
    pub(crate) fn all(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }

    /// Takes them at this address until the task is dropped.
    pub(crate) async fn serve(&self, address: SocketAddr) -> JoinHandle<()> {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = tonic::transport::Server::builder().add_service(self.clone());
        tokio::spawn(
            async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() },
        )
    }

    fn take(&self, export: Export) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for resource in export.resources {
            let service = resource.resource.unwrap_or_default().list;
            for span in resource.scopes.into_iter().flat_map(|scope| scope.spans) {
                let text =
                    |one: Attribute| (one.key, one.value.and_then(|value| value.text).unwrap_or_default());
                let attributes = service.iter().cloned().chain(span.attributes).map(text).collect();
                let (trace, id) = (hex(&span.trace_id), hex(&span.span_id));
                let span = Span { trace, id, parent: hex(&span.parent_span_id), attributes };
                self.0.lock().unwrap().push(span);
            }
        }
    }
}

impl NamedService for Spans {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<Export> for Spans {
    /// `ExportTraceServiceResponse`, which is empty when all was taken.
    type Response = Attributes;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        self.take(request.into_inner());
        Box::pin(async { Ok(Response::new(Attributes::default())) })
    }
}

impl<B> Service<http::Request<B>> for Spans
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// `Export` is the one method that there is.
    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let taken = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(taken, request).await) })
    }
}
