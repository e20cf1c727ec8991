//! Maps of headers, trailers and metadata.

use super::cx::{Cx, Done};
use crate::codes::{Callback, MapKind, Status};
use crate::flow::{Dir, Stream};
use crate::headers::HeaderMap;
use crate::pairs;
use crate::world::Arg;

/// Where a map lies and whether it can be reached now.
enum Place {
    Headers(Dir),
    Trailers(Dir),
    Answer,
    Absent,
}

fn kind(cx: &mut Cx<'_, '_>, kind: u32) -> Result<MapKind, Status> {
    let kind = MapKind::from_code(kind).ok_or(Status::BadArgument)?;
    cx.argument(Arg::Name(kind.name()));
    Ok(kind)
}

/// Where a map may be read: in the callbacks of its own phase, all but request trailers in
/// `proxy_on_log`, and callout answers in their callback.
fn readable(cx: &Cx<'_, '_>, kind: MapKind) -> Result<Place, Status> {
    let context = cx.state().context()?;
    let window = &context.window;
    let headers = |dir: Dir| {
        if window.log || window.headers[dir.index()] { Place::Headers(dir) } else { Place::Absent }
    };
    Ok(match kind {
        MapKind::RequestHeaders => headers(Dir::Request),
        MapKind::ResponseHeaders => headers(Dir::Response),
        MapKind::RequestTrailers if window.trailers[0] && !window.log => Place::Trailers(Dir::Request),
        MapKind::ResponseTrailers if window.log || window.trailers[1] => Place::Trailers(Dir::Response),
        MapKind::RequestTrailers | MapKind::ResponseTrailers => Place::Absent,
        _ => match cx.state().root()?.answer {
            Some(_) => Place::Answer,
            None => Place::Absent,
        },
    })
}

/// Where a map may be changed: in the callbacks of its own phase only.
fn writable(cx: &Cx<'_, '_>, kind: MapKind) -> Result<Place, Status> {
    let window = &cx.state().context()?.window;
    Ok(match kind {
        MapKind::RequestHeaders if window.headers[0] => Place::Headers(Dir::Request),
        MapKind::ResponseHeaders if window.headers[1] => Place::Headers(Dir::Response),
        MapKind::RequestTrailers if window.trailers[0] || at_end(window.body[0], window.end_of_stream) => {
            Place::Trailers(Dir::Request)
        }
        MapKind::ResponseTrailers if window.trailers[1] || at_end(window.body[1], window.end_of_stream) => {
            Place::Trailers(Dir::Response)
        }
        _ => Place::Absent,
    })
}

/// Trailers can be added while the last part of a body that has none is in hand.
fn at_end(body: bool, end_of_stream: bool) -> bool {
    body && end_of_stream
}

fn in_stream<'a>(stream: &'a Stream, place: &Place) -> Option<&'a HeaderMap> {
    match place {
        Place::Headers(dir) => stream.way(*dir).headers.as_ref(),
        Place::Trailers(dir) => stream.way(*dir).trailers.as_ref(),
        Place::Answer | Place::Absent => None,
    }
}

/// Reads a map; `None` if it cannot be reached (which is a misuse outside of `proxy_on_log`) or does not
/// exist.
fn with<T>(cx: &Cx<'_, '_>, kind: MapKind, read: impl FnOnce(&HeaderMap) -> T) -> Result<Option<T>, Status> {
    let place = readable(cx, kind)?;
    match place {
        Place::Absent => {
            if !cx.state().context()?.window.log {
                cx.misuse(format!("{kind} cannot be read in this phase{}", hint(cx)));
            }
            Ok(None)
        }
        Place::Answer => {
            let Some(answer) = &cx.state().root()?.answer else { return Ok(None) };
            let trailers = matches!(kind, MapKind::CallResponseTrailers | MapKind::GrpcTrailingMetadata);
            Ok(if trailers { answer.trailers.as_ref().map(read) } else { Some(read(&answer.headers)) })
        }
        Place::Headers(_) | Place::Trailers(_) => {
            let Some((stream, _)) = cx.state().context()?.stream.clone() else { return Ok(None) };
            let stream = stream.lock();
            Ok(in_stream(&stream, &place).map(read))
        }
    }
}

/// What most likely happened.
fn hint(cx: &Cx<'_, '_>) -> &'static str {
    if cx.state().callback == Callback::HttpCallResponse {
        " (a callout that was reset, or cut in the middle, has no answer: zero headers)"
    } else {
        ""
    }
}

fn change(cx: &mut Cx<'_, '_>, kind: MapKind, change: impl FnOnce(&mut HeaderMap)) -> Done {
    let place = writable(cx, kind)?;
    let stream = cx.state().context()?.stream.clone();
    let (Some((stream, _)), false) = (stream, matches!(place, Place::Absent)) else {
        cx.misuse(format!("{kind} cannot be changed in this phase"));
        return Err(Status::BadArgument.into());
    };
    let mut stream = stream.lock();
    match place {
        Place::Headers(dir) => change(stream.way_mut(dir).headers.get_or_insert_default()),
        Place::Trailers(dir) => change(stream.way_mut(dir).trailers.get_or_insert_default()),
        Place::Answer | Place::Absent => {}
    }
    if matches!(place, Place::Headers(Dir::Request)) {
        stream.forget_route();
    }
    drop(stream);
    if let Place::Trailers(dir) = place {
        // Trailers that were added at the end of a body can be read from then on.
        cx.state_mut().context_mut()?.window.trailers[dir.index()] = true;
    }
    Ok(())
}

/// The size of a map that could be changed: Envoy has none for the others, nor any in `proxy_on_log`.
pub(super) fn size(cx: &mut Cx<'_, '_>, map: u32, size: u32) -> Done {
    let kind = kind(cx, map)?;
    let in_log = cx.state().context()?.window.log;
    if in_log || matches!(readable(cx, kind)?, Place::Answer) {
        cx.write_u32(size, 0)?;
        return Err(Status::BadArgument.into());
    }
    let bytes = with(cx, kind, HeaderMap::byte_size)?.ok_or(Status::BadArgument)?;
    cx.result(Arg::Number(bytes as u64));
    Ok(cx.write_u32(size, u32::try_from(bytes).unwrap_or(u32::MAX))?)
}

pub(super) fn get_all(cx: &mut Cx<'_, '_>, map: u32, data: u32, size: u32) -> Done {
    let kind = kind(cx, map)?;
    let read = |map: &HeaderMap| (map.len(), if map.is_empty() { Vec::new() } else { encode(map) });
    let (count, bytes) = with(cx, kind, read)?.unwrap_or_default();
    cx.result(Arg::Map(count));
    cx.give(&bytes, data, size)
}

fn encode(map: &HeaderMap) -> Vec<u8> {
    let entries: Vec<_> = map.iter().collect();
    pairs::encode(entries.iter().copied())
}

pub(super) fn set_all(cx: &mut Cx<'_, '_>, map: u32, data: u32, size: u32) -> Done {
    let kind = kind(cx, map)?;
    let entries = cx.read_pairs(data, size)?;
    cx.argument(Arg::Map(entries.len()));
    change(cx, kind, |map| *map = entries)
}

pub(super) fn get(cx: &mut Cx<'_, '_>, map: u32, name: u32, len: u32, value: u32, size: u32) -> Done {
    let kind = kind(cx, map)?;
    let name = cx.read(name, len)?;
    cx.argument(Arg::Bytes(&name));
    let found = with(cx, kind, |map| map.get_bytes(&name).map(<[u8]>::to_vec))?;
    let missing = if cx.state().context()?.window.log { Status::NotFound } else { Status::BadArgument };
    let bytes = found.ok_or(missing)?.ok_or(Status::NotFound)?;
    cx.result(Arg::Bytes(&bytes));
    cx.give(&bytes, value, size)
}

fn name_and_value(
    cx: &mut Cx<'_, '_>,
    name: (u32, u32),
    value: (u32, u32),
) -> Result<(Vec<u8>, Vec<u8>), Status> {
    let name = cx.read(name.0, name.1)?;
    let value = cx.read(value.0, value.1)?;
    cx.argument(Arg::Bytes(&name));
    cx.argument(Arg::Bytes(&value));
    Ok((name, value))
}

pub(super) fn add(cx: &mut Cx<'_, '_>, map: u32, name: u32, len: u32, value: u32, size: u32) -> Done {
    let kind = kind(cx, map)?;
    let (name, value) = name_and_value(cx, (name, len), (value, size))?;
    change(cx, kind, |map| map.add(name, value))
}

pub(super) fn replace(cx: &mut Cx<'_, '_>, map: u32, name: u32, len: u32, value: u32, size: u32) -> Done {
    let kind = kind(cx, map)?;
    let (name, value) = name_and_value(cx, (name, len), (value, size))?;
    change(cx, kind, |map| map.set(name, value))
}

pub(super) fn remove(cx: &mut Cx<'_, '_>, map: u32, name: u32, len: u32) -> Done {
    let kind = kind(cx, map)?;
    let name = cx.read(name, len)?;
    cx.argument(Arg::Bytes(&name));
    change(cx, kind, |map| map.remove(name))
}
