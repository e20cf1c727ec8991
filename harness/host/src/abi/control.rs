//! Log, time, timers, and the course of streams.

use std::time::Duration;

use super::cx::{Cx, Done};
use crate::codes::{LogLevel, Status};
use crate::flow::Dir;
use crate::state::Action;
use crate::world::Arg;

pub(super) fn log(cx: &mut Cx<'_, '_>, level: u32, text: u32, size: u32) -> Done {
    let level = LogLevel::from_code(level).ok_or(Status::BadArgument)?;
    let text = cx.read_text(text, size)?;
    cx.argument(Arg::Name(level.name()));
    cx.argument(Arg::Bytes(text.as_bytes()));
    let state = cx.state();
    if level >= state.world.log_level {
        state.log(level, text);
    }
    Ok(())
}

pub(super) fn get_log_level(cx: &mut Cx<'_, '_>, level: u32) -> Done {
    let value = cx.state().world.log_level;
    cx.result(Arg::Name(value.name()));
    Ok(cx.write_u32(level, value.code())?)
}

pub(super) fn get_time(cx: &mut Cx<'_, '_>, time: u32) -> Done {
    let now = cx.state().world.lock().clock.unix_nanos();
    cx.result(Arg::Number(now));
    Ok(cx.write_u64(time, now)?)
}

pub(super) fn set_tick_period(cx: &mut Cx<'_, '_>, period: u32) -> Done {
    cx.argument(Arg::Number(period.into()));
    let state = cx.state();
    let root = state.root_id()?;
    let period = Duration::from_millis(period.into());
    state.world.lock().clock.set_timer(state.vm, state.instance, root, period);
    Ok(())
}

pub(super) fn done(cx: &mut Cx<'_, '_>) -> Done {
    let id = cx.state().context_id();
    let context = cx.state_mut().context_mut()?;
    if !context.done_pending {
        cx.misuse("proxy_done without a proxy_on_done that returned false");
        return Err(Status::NotFound.into());
    }
    context.done_pending = false;
    cx.state_mut().finished.push(id);
    Ok(())
}

pub(super) fn set_effective_context(cx: &mut Cx<'_, '_>, context: u32) -> Done {
    cx.argument(Arg::Number(context.into()));
    if !cx.state().contexts.contains_key(&context) {
        cx.misuse(format!("there is no context {context}"));
        return Err(Status::BadArgument.into());
    }
    cx.state_mut().effective = context;
    Ok(())
}

/// The direction of a stream type; the two TCP types have none here.
fn direction(stream: u32) -> Result<Dir, Status> {
    match stream {
        0 => Ok(Dir::Request),
        1 => Ok(Dir::Response),
        2 | 3 => Err(Status::Unimplemented),
        _ => Err(Status::BadArgument),
    }
}

pub(super) fn continue_stream(cx: &mut Cx<'_, '_>, stream: u32) -> Done {
    cx.argument(Arg::Number(stream.into()));
    let dir = direction(stream)?;
    let id = cx.state().context_id();
    let context = cx.state_mut().context_mut()?;
    if context.stream.is_none() {
        cx.misuse("a root context has no stream to continue");
        return Ok(());
    }
    // Envoy forgets the request's map and buffer here, whichever direction goes on.
    context.window.headers[0] = false;
    context.window.body[0] = false;
    context.window.trailers[0] = false;
    cx.state_mut().actions.push_back((id, Action::Continue(dir)));
    Ok(())
}

pub(super) fn close_stream(cx: &mut Cx<'_, '_>, stream: u32) -> Done {
    cx.argument(Arg::Number(stream.into()));
    direction(stream)?;
    let id = cx.state().context_id();
    if cx.state().context()?.stream.is_none() {
        cx.misuse("a root context has no stream to close");
        return Ok(());
    }
    cx.state_mut().actions.push_back((id, Action::Close));
    Ok(())
}

pub(super) fn get_status(cx: &mut Cx<'_, '_>, code: u32, text: u32, size: u32) -> Done {
    let (value, message) = cx.state().root()?.status.clone();
    cx.result(Arg::Number(value.into()));
    cx.result(Arg::Bytes(message.as_bytes()));
    cx.write_u32(code, value)?;
    cx.give(message.as_bytes(), text, size)
}

#[expect(clippy::too_many_arguments, reason = "the ABI passes eight")]
pub(super) fn send_local_response(
    cx: &mut Cx<'_, '_>,
    status: u32,
    details: u32,
    details_size: u32,
    body: u32,
    body_size: u32,
    headers: u32,
    headers_size: u32,
    grpc_status: i32,
) -> Done {
    // Envoy puts the details into logs and headers: no spaces.
    let details = cx.read_text(details, details_size)?.replace(char::is_whitespace, "_");
    let body = cx.read(body, body_size)?;
    let headers = cx.read_pairs(headers, headers_size)?;
    cx.argument(Arg::Number(status.into()));
    cx.argument(Arg::Bytes(details.as_bytes()));
    cx.argument(Arg::Bytes(&body));
    for (name, value) in headers.iter() {
        cx.argument(Arg::Bytes(&[name, b": ", value].concat()));
    }
    cx.argument(Arg::Signed(grpc_status.into()));
    let id = cx.state().context_id();
    if cx.state().context()?.window.log {
        cx.misuse("a reply in proxy_on_log makes Envoy 1.40 crash; here it does nothing");
    } else if cx.state().context()?.stream.is_some() {
        let reply = Action::LocalReply { status, details, headers, body, grpc_status };
        cx.state_mut().actions.push_back((id, reply));
    } else {
        cx.misuse("a root context has no stream to answer: the call does nothing");
    }
    cx.state_mut().stop_iteration = true;
    Ok(())
}
