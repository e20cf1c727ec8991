//! Bodies, configuration, answers of callouts.

use super::cx::{Cx, Done};
use crate::codes::{BufferKind, Status};
use crate::flow::Dir;
use crate::world::Arg;

fn kind(cx: &mut Cx<'_, '_>, kind: u32) -> Result<BufferKind, Status> {
    let kind = BufferKind::from_code(kind).ok_or(Status::BadArgument)?;
    cx.argument(Arg::Name(kind.name()));
    Ok(kind)
}

fn direction(kind: BufferKind) -> Option<Dir> {
    match kind {
        BufferKind::RequestBody => Some(Dir::Request),
        BufferKind::ResponseBody => Some(Dir::Response),
        _ => None,
    }
}

/// Reads a buffer. A body outside its phase is empty, not an error, as in Envoy.
fn with<T>(cx: &Cx<'_, '_>, kind: BufferKind, read: impl FnOnce(&[u8]) -> T) -> Result<T, Status> {
    if let Some(dir) = direction(kind) {
        let context = cx.state().context()?;
        if let Some((stream, slot)) = &context.stream
            && let Some(body) = stream.lock().visible_body(dir, *slot, context.window.body[dir.index()])
        {
            return Ok(read(body));
        }
        cx.misuse(format!("{kind} cannot be read in this phase: Envoy shows it empty"));
        return Ok(read(&[]));
    }
    match kind {
        BufferKind::VmConfiguration => Ok(read(&cx.state().vm_config)),
        BufferKind::PluginConfiguration => {
            let context = cx.state().context()?;
            if context.configuring {
                return Ok(read(&context.spec.config));
            }
            cx.misuse("the plugin's configuration can be read in proxy_on_configure only");
            Err(Status::NotFound)
        }
        BufferKind::CallResponseBody | BufferKind::GrpcMessage => match &cx.state().root()?.answer {
            Some(answer) => Ok(read(&answer.body)),
            None => {
                cx.misuse(format!("{kind} can be read in the callout's callback only"));
                if kind == BufferKind::GrpcMessage { Ok(read(&[])) } else { Err(Status::NotFound) }
            }
        },
        BufferKind::CallData => Ok(read(&[])),
        _ => Err(Status::NotFound),
    }
}

pub(super) fn get(cx: &mut Cx<'_, '_>, buffer: u32, start: u32, len: u32, data: u32, size: u32) -> Done {
    let kind = kind(cx, buffer)?;
    cx.argument(Arg::Number(start.into()));
    cx.argument(Arg::Number(len.into()));
    let part = |bytes: &[u8]| {
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(bytes.len());
        bytes.get(start..end).unwrap_or_default().to_vec()
    };
    let bytes = with(cx, kind, part)?;
    cx.result(Arg::Bytes(&bytes));
    cx.give(&bytes, data, size)
}

pub(super) fn status(cx: &mut Cx<'_, '_>, buffer: u32, len: u32, flags: u32) -> Done {
    let kind = kind(cx, buffer)?;
    let bytes = with(cx, kind, <[u8]>::len)?;
    cx.result(Arg::Number(bytes as u64));
    cx.write_u32(len, u32::try_from(bytes).unwrap_or(u32::MAX))?;
    Ok(cx.write_u32(flags, 0)?)
}

pub(super) fn set(cx: &mut Cx<'_, '_>, buffer: u32, start: u32, len: u32, data: u32, size: u32) -> Done {
    let kind = kind(cx, buffer)?;
    let bytes = cx.read(data, size)?;
    cx.argument(Arg::Number(start.into()));
    cx.argument(Arg::Number(len.into()));
    cx.argument(Arg::Bytes(&bytes));
    let Some(dir) = direction(kind) else {
        cx.misuse(format!("{kind} cannot be changed"));
        return Err(Status::BadArgument.into());
    };
    let context = cx.state().context()?;
    let visible = context.window.body[dir.index()];
    let changed = context.stream.as_ref().and_then(|(stream, slot)| {
        let mut stream = stream.lock();
        let body = stream.visible_body_mut(dir, *slot, visible)?;
        Some(splice(body, start, len, bytes))
    });
    match changed {
        Some(result) => Ok(result?),
        None => {
            cx.misuse(format!("{kind} cannot be changed in this phase"));
            Err(Status::BadArgument.into())
        }
    }
}

/// Envoy can put bytes before a body, after it, or in its place, and nothing else.
fn splice(body: &mut Vec<u8>, start: u32, len: u32, bytes: Vec<u8>) -> Result<(), Status> {
    let (start, len) = (u64::from(start), u64::from(len));
    let present = body.len() as u64;
    if start == 0 && len == 0 {
        body.splice(0..0, bytes);
    } else if start == 0 && len >= present {
        *body = bytes;
    } else if start >= present {
        body.extend(bytes);
    } else {
        return Err(Status::BadArgument);
    }
    Ok(())
}
