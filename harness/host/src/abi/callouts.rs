//! HTTP and gRPC callouts.

use std::time::Duration;

use super::cx::{Cx, Done};
use crate::codes::Status;
use crate::headers::HeaderMap;
use crate::message::Request;
use crate::world::{Arg, CallKind, CallStart, CallState};

/// Tokens carry the kind of call in their lowest bits, as in Envoy.
const TOKEN_STEP: u32 = 4;

/// Sends the call and writes its token. Callouts belong to the root context, whoever makes them.
fn dispatch(
    cx: &mut Cx<'_, '_>,
    kind: CallKind,
    cluster: &str,
    request: Request,
    timeout: Duration,
    unknown: Status,
) -> Done<u32> {
    let state = cx.state_mut();
    let root = state.root_id()?;
    let slot = match kind {
        CallKind::Http => 0,
        CallKind::Grpc => 1,
    };
    let token = state.last_token[slot] + TOKEN_STEP;
    let world = std::sync::Arc::clone(&state.world);
    let id = world.next_id();
    let (vm, instance) = (state.vm, state.instance);
    let mut shared = world.lock();
    let started = shared.clock.elapsed();
    let start = CallStart { id, kind, vm, instance, root, token, timeout, started };
    if !shared.dispatch(cluster, start, request) {
        return Err(unknown.into());
    }
    drop(shared);
    state.last_token[slot] = token;
    state.root_mut()?.calls.push((token, id));
    Ok(token)
}

#[expect(clippy::too_many_arguments, reason = "the ABI passes ten")]
pub(super) fn http_call(
    cx: &mut Cx<'_, '_>,
    cluster: u32,
    cluster_size: u32,
    headers: u32,
    headers_size: u32,
    body: u32,
    body_size: u32,
    trailers: u32,
    trailers_size: u32,
    timeout: u32,
    token: u32,
) -> Done {
    let cluster = cx.read_text(cluster, cluster_size)?;
    let body = cx.read(body, body_size)?;
    let mut headers = cx.read_pairs(headers, headers_size)?;
    let trailers = cx.read_pairs(trailers, trailers_size)?;
    cx.write_u32(token, 0)?;
    cx.argument(Arg::Bytes(cluster.as_bytes()));
    for name in [":method", ":authority", ":path"] {
        let value = headers.get_bytes(name).unwrap_or_default().to_vec();
        cx.argument(Arg::Bytes(&value));
    }
    cx.argument(Arg::Bytes(&body));
    cx.argument(Arg::Number(timeout.into()));
    if timeout.cast_signed() < 0 {
        return Err(Status::BadArgument.into());
    }
    if [":method", ":authority", ":path"].iter().any(|name| headers.get_bytes(name).is_none()) {
        cx.misuse("a callout needs :method, :authority and :path");
        return Err(Status::BadArgument.into());
    }
    if !body.is_empty() {
        headers.set("content-length", body.len().to_string());
    }
    let body = if body.is_empty() { Vec::new() } else { vec![body] };
    let request = Request { headers, body, trailers, ..Request::default() };
    let timeout = Duration::from_millis(timeout.into());
    let number = dispatch(cx, CallKind::Http, &cluster, request, timeout, Status::BadArgument)?;
    cx.result(Arg::Number(number.into()));
    Ok(cx.write_u32(token, number)?)
}

/// `envoy.config.core.v3.GrpcService`, as far as it names a cluster.
#[derive(prost::Message)]
struct GrpcService {
    #[prost(message, optional, tag = "1")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(prost::Message)]
struct EnvoyGrpc {
    #[prost(string, tag = "1")]
    cluster_name: String,
}

fn grpc_cluster(service: &[u8]) -> String {
    let decoded = <GrpcService as prost::Message>::decode(service).ok();
    match decoded.and_then(|service| service.envoy_grpc) {
        Some(grpc) => grpc.cluster_name,
        None => String::from_utf8_lossy(service).into_owned(),
    }
}

#[expect(clippy::too_many_arguments, reason = "the ABI passes twelve")]
pub(super) fn grpc_call(
    cx: &mut Cx<'_, '_>,
    service: u32,
    service_size: u32,
    name: u32,
    name_size: u32,
    method: u32,
    method_size: u32,
    metadata: u32,
    metadata_size: u32,
    message: u32,
    message_size: u32,
    timeout: u32,
    token: u32,
) -> Done {
    let cluster = grpc_cluster(&cx.read(service, service_size)?);
    let name = cx.read_text(name, name_size)?;
    let method = cx.read_text(method, method_size)?;
    let metadata = cx.read_pairs(metadata, metadata_size)?;
    let message = cx.read(message, message_size)?;
    cx.argument(Arg::Bytes(cluster.as_bytes()));
    cx.argument(Arg::Bytes(name.as_bytes()));
    cx.argument(Arg::Bytes(method.as_bytes()));
    cx.argument(Arg::Bytes(&message));
    cx.argument(Arg::Number(timeout.into()));
    let path = format!("/{name}/{method}");
    let mut headers = HeaderMap::from([(":method", "POST"), (":path", &path), (":authority", &cluster)]);
    headers.add("te", "trailers");
    headers.add("content-type", "application/grpc");
    for (name, value) in metadata.iter() {
        headers.add(name, value);
    }
    let request = Request { headers, body: vec![message], ..Request::default() };
    let timeout = Duration::from_millis(timeout.into());
    let number = dispatch(cx, CallKind::Grpc, &cluster, request, timeout, Status::ParseFailure)?;
    cx.result(Arg::Number(number.into()));
    Ok(cx.write_u32(token, number)?)
}

/// Streaming gRPC lies outside of what this host offers; the module is told so.
#[expect(clippy::too_many_arguments, reason = "the ABI passes nine")]
pub(super) fn grpc_stream(
    cx: &mut Cx<'_, '_>,
    service: u32,
    service_size: u32,
    _name: u32,
    _name_size: u32,
    _method: u32,
    _method_size: u32,
    _metadata: u32,
    _metadata_size: u32,
    _token: u32,
) -> Done {
    let cluster = grpc_cluster(&cx.read(service, service_size)?);
    cx.argument(Arg::Bytes(cluster.as_bytes()));
    cx.misuse("this host offers unary gRPC callouts only: use proxy_grpc_call");
    Err(Status::Unimplemented.into())
}

pub(super) fn grpc_send(cx: &mut Cx<'_, '_>, token: u32, _message: u32, _size: u32, _end: u32) -> Done {
    cx.argument(Arg::Number(token.into()));
    cx.misuse("there is no gRPC stream: this host offers unary gRPC callouts only");
    Err(Status::BadArgument.into())
}

pub(super) fn grpc_cancel(cx: &mut Cx<'_, '_>, token: u32) -> Done {
    cx.argument(Arg::Number(token.into()));
    if token % TOKEN_STEP != 1 {
        cx.misuse("this is not the token of a gRPC callout");
        return Err(Status::BadArgument.into());
    }
    let calls = &mut cx.state_mut().root_mut()?.calls;
    let Some(at) = calls.iter().position(|(known, _)| *known == token) else {
        return Err(Status::NotFound.into());
    };
    let (_, id) = calls.remove(at);
    cx.state().world.lock().finish_call(id, CallState::Cancelled);
    Ok(())
}
