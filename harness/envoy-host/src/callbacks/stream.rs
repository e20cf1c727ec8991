//! What a filter can read of its stream and do with it.

use std::ffi::c_void;

use portcullis_testhost::{HeaderMap, MapKind, Value};

use crate::objects::Stream;
use crate::raw::{Buffer, Header, headers};

/// # Safety
/// A pointer that the module was given for a live stream.
unsafe fn stream<'a>(envoy: *mut c_void) -> &'a Stream {
    // SAFETY: the caller's promise.
    unsafe { &*envoy.cast::<Stream>() }
}

/// Looks at headers or changes them. Envoy's numbers of the maps are those of the test host.
fn with<T>(envoy: *mut c_void, map: u32, act: impl FnOnce(&mut HeaderMap) -> T) -> Option<T> {
    // SAFETY: the module's stream is live during its hook.
    unsafe { stream(envoy) }.handle.with_headers(MapKind::from_code(map)?, act)
}

pub(super) extern "C" fn http_get_headers_size(envoy: *mut c_void, map: u32) -> usize {
    with(envoy, map, |headers| headers.len()).unwrap_or(0)
}

pub(super) extern "C" fn http_get_headers(envoy: *mut c_void, map: u32, out: *mut Header) -> bool {
    let write = |headers: &mut HeaderMap| {
        for (at, (name, value)) in headers.iter().enumerate() {
            let header = Header { name: Buffer::of(name), value: Buffer::of(value) };
            // SAFETY: the module has asked for the number and made room for so many.
            unsafe { *out.add(at) = header };
        }
    };
    with(envoy, map, write).is_some()
}

pub(super) extern "C" fn http_get_header(
    envoy: *mut c_void,
    map: u32,
    name: Buffer,
    out: *mut Buffer,
    index: usize,
    count: *mut usize,
) -> bool {
    // SAFETY: the module's bytes live during the call.
    let name = unsafe { name.text() };
    let found = with(envoy, map, |headers| {
        let values: Vec<Buffer> = headers.get_all(&name).map(Buffer::of).collect();
        (values.get(index).copied(), values.len())
    });
    let Some((Some(value), total)) = found else { return false };
    // SAFETY: the module's locals; the count is optional.
    unsafe {
        *out = value;
        if let Some(count) = count.as_mut() {
            *count = total;
        }
    }
    true
}

pub(super) extern "C" fn http_add_header(envoy: *mut c_void, map: u32, name: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's bytes live during the call.
    let (name, value) = unsafe { (name.bytes(), value.bytes()) };
    with(envoy, map, |headers| headers.add(name, value)).is_some()
}

pub(super) extern "C" fn http_set_header(envoy: *mut c_void, map: u32, name: Buffer, value: Buffer) -> bool {
    let remove = value.data.is_null();
    // SAFETY: the module's bytes live during the call.
    let (name, value) = unsafe { (name.bytes(), value.bytes()) };
    let set = |headers: &mut HeaderMap| {
        if remove { headers.remove(name) } else { headers.set(name, value) }
    };
    with(envoy, map, set).is_some()
}

pub(super) extern "C" fn http_clear_route_cache(envoy: *mut c_void) {
    // SAFETY: a live stream.
    unsafe { stream(envoy) }.handle.clear_route_cache();
}

pub(super) extern "C" fn http_send_response(
    envoy: *mut c_void,
    status: u32,
    first: *const Header,
    count: usize,
    body: Buffer,
    details: Buffer,
) {
    // SAFETY: a live stream; what the module hands over lives during the call.
    let (stream, given, body, details) =
        unsafe { (stream(envoy), headers(first, count), body.bytes(), details.text()) };
    stream.handle.reply(status, given.into_iter().collect(), body.to_vec(), details);
}

pub(super) extern "C" fn http_filter_continue_decoding(envoy: *mut c_void) {
    // SAFETY: a live stream.
    unsafe { stream(envoy) }.handle.resume(true);
}

pub(super) extern "C" fn http_filter_continue_encoding(envoy: *mut c_void) {
    // SAFETY: a live stream.
    unsafe { stream(envoy) }.handle.resume(false);
}

/// Shows a body: 0 and 1 are the request's, in hand and held back, 2 and 3 the response's.
fn body(envoy: *mut c_void, kind: u32) -> Buffer {
    // SAFETY: a live stream.
    unsafe { stream(envoy) }.handle.with_body(kind < 2, kind % 2 == 1, Buffer::of)
}

pub(super) extern "C" fn http_get_body_size(envoy: *mut c_void, kind: u32) -> usize {
    body(envoy, kind).size
}

pub(super) extern "C" fn http_get_body_chunks_size(envoy: *mut c_void, kind: u32) -> usize {
    usize::from(body(envoy, kind).size > 0)
}

pub(super) extern "C" fn http_get_body_chunks(envoy: *mut c_void, kind: u32, out: *mut Buffer) -> bool {
    let chunk = body(envoy, kind);
    if chunk.size > 0 {
        // SAFETY: the module has asked for the number of chunks, which is one.
        unsafe { *out = chunk };
    }
    true
}

/// An attribute by Envoy's number; only those that the module names.
fn attribute(envoy: *mut c_void, number: u32) -> Option<Value> {
    let path: &[&str] = match number {
        9 => &["request", "id"],
        10 => &["request", "protocol"],
        13 => &["request", "size"],
        15 => &["response", "code"],
        16 => &["response", "code_details"],
        17 => &["response", "flags"],
        21 => &["response", "size"],
        24 => &["source", "address"],
        25 => &["source", "port"],
        29 => &["connection", "mtls"],
        37 => &["connection", "uri_san_peer_certificate"],
        _ => return None,
    };
    // SAFETY: a live stream.
    unsafe { stream(envoy) }.handle.attribute(path)
}

pub(super) extern "C" fn http_filter_get_attribute_string(
    envoy: *mut c_void,
    number: u32,
    out: *mut Buffer,
) -> bool {
    let Some(Value::Bytes(bytes)) = attribute(envoy, number) else { return false };
    // SAFETY: a live stream, and the module's local.
    unsafe { show(stream(envoy), bytes, out) };
    true
}

/// Keeps bytes until the hook has returned, and shows them.
///
/// # Safety
/// `out` is a live local of the module.
unsafe fn show(stream: &Stream, bytes: Vec<u8>, out: *mut Buffer) {
    // SAFETY: the caller's promise. A vector's bytes stay where they are when it moves.
    unsafe { *out = Buffer::of(&bytes) };
    stream.shown.borrow_mut().push(bytes);
}

pub(super) extern "C" fn http_filter_get_attribute_int(
    envoy: *mut c_void,
    number: u32,
    out: *mut u64,
) -> bool {
    let value = match attribute(envoy, number) {
        Some(Value::Int(value)) => value.cast_unsigned(),
        Some(Value::Uint(value)) => value,
        _ => return false,
    };
    // SAFETY: the module's local.
    unsafe { *out = value };
    true
}

pub(super) extern "C" fn http_filter_get_attribute_bool(
    envoy: *mut c_void,
    number: u32,
    out: *mut bool,
) -> bool {
    let Some(Value::Bool(value)) = attribute(envoy, number) else { return false };
    // SAFETY: the module's local.
    unsafe { *out = value };
    true
}

pub(super) extern "C" fn http_set_filter_state_bytes(envoy: *mut c_void, key: Buffer, value: Buffer) -> bool {
    // SAFETY: a live stream, and the module's bytes live during the call.
    unsafe { stream(envoy).handle.set_state(key.bytes(), value.bytes()) };
    true
}

pub(super) extern "C" fn http_get_filter_state_bytes(
    envoy: *mut c_void,
    key: Buffer,
    out: *mut Buffer,
) -> bool {
    // SAFETY: a live stream, and the module's bytes live during the call.
    let (stream, key) = unsafe { (stream(envoy), key.bytes()) };
    let Some(value) = stream.handle.state(key) else { return false };
    // SAFETY: the module's local.
    unsafe { show(stream, value, out) };
    true
}

pub(super) extern "C" fn http_filter_get_worker_index(envoy: *mut c_void) -> u32 {
    // SAFETY: a live stream.
    u32::try_from(unsafe { stream(envoy) }.handle.worker()).unwrap_or(u32::MAX)
}
