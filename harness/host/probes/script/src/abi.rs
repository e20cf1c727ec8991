//! The raw imports, and what it takes to call them.

use std::cell::RefCell;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    pub fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    pub fn proxy_get_log_level(level: *mut u32) -> u32;
    pub fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    pub fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    pub fn proxy_done() -> u32;
    pub fn proxy_set_effective_context(context: u32) -> u32;
    pub fn proxy_continue_stream(stream: u32) -> u32;
    pub fn proxy_close_stream(stream: u32) -> u32;
    pub fn proxy_get_status(code: *mut u32, text: *mut *mut u8, size: *mut usize) -> u32;
    pub fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc: i32,
    ) -> u32;
    pub fn proxy_get_header_map_size(kind: u32, size: *mut usize) -> u32;
    pub fn proxy_get_header_map_pairs(kind: u32, map: *mut *mut u8, size: *mut usize) -> u32;
    pub fn proxy_set_header_map_pairs(kind: u32, map: *const u8, size: usize) -> u32;
    pub fn proxy_get_header_map_value(
        kind: u32,
        name: *const u8,
        len: usize,
        value: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    pub fn proxy_add_header_map_value(kind: u32, n: *const u8, len: usize, v: *const u8, size: usize) -> u32;
    pub fn proxy_replace_header_map_value(kind: u32, n: *const u8, len: usize, v: *const u8, size: usize) -> u32;
    pub fn proxy_remove_header_map_value(kind: u32, name: *const u8, len: usize) -> u32;
    pub fn proxy_get_buffer_bytes(kind: u32, start: u32, len: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    pub fn proxy_get_buffer_status(kind: u32, len: *mut usize, flags: *mut u32) -> u32;
    pub fn proxy_set_buffer_bytes(kind: u32, start: u32, len: u32, data: *const u8, size: usize) -> u32;
    pub fn proxy_get_property(path: *const u8, len: usize, value: *mut *mut u8, size: *mut usize) -> u32;
    pub fn proxy_set_property(path: *const u8, len: usize, value: *const u8, size: usize) -> u32;
    pub fn proxy_get_shared_data(
        key: *const u8,
        len: usize,
        value: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    pub fn proxy_set_shared_data(key: *const u8, len: usize, value: *const u8, size: usize, cas: u32) -> u32;
    pub fn proxy_register_shared_queue(name: *const u8, len: usize, token: *mut u32) -> u32;
    pub fn proxy_resolve_shared_queue(
        vm: *const u8,
        vm_len: usize,
        name: *const u8,
        len: usize,
        token: *mut u32,
    ) -> u32;
    pub fn proxy_enqueue_shared_queue(token: u32, data: *const u8, size: usize) -> u32;
    pub fn proxy_dequeue_shared_queue(token: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    pub fn proxy_define_metric(kind: u32, name: *const u8, len: usize, id: *mut u32) -> u32;
    pub fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    pub fn proxy_record_metric(id: u32, value: u64) -> u32;
    pub fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    pub fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    pub fn proxy_grpc_call(
        service: *const u8,
        service_size: usize,
        name: *const u8,
        name_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        message: *const u8,
        message_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    pub fn proxy_grpc_stream(
        service: *const u8,
        service_size: usize,
        name: *const u8,
        name_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        token: *mut u32,
    ) -> u32;
    pub fn proxy_grpc_send(token: u32, message: *const u8, size: usize, end: u32) -> u32;
    pub fn proxy_grpc_cancel(token: u32) -> u32;
    pub fn proxy_call_foreign_function(
        name: *const u8,
        len: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub fn random_get(bytes: *mut u8, len: usize) -> u32;
}

/// The host's allocator: it takes over what it is given, byte for byte.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes = std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(size));
    bytes.as_mut_ptr()
}

/// What the host handed over.
pub fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the host filled `size` bytes of an allocation of `proxy_on_memory_allocate(size)`.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Calls an import that hands over bytes.
pub fn taking(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> (u32, Vec<u8>) {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status = call(&mut data, &mut size);
    (status, if status == 0 { take(data, size) } else { Vec::new() })
}

/// The ABI's form of a map.
pub fn pairs(flat: &[Vec<u8>]) -> Vec<u8> {
    let mut out = ((flat.len() / 2) as u32).to_le_bytes().to_vec();
    for part in flat {
        out.extend((part.len() as u32).to_le_bytes());
    }
    for part in flat {
        out.extend(part);
        out.push(0);
    }
    out
}

/// The entries of a map in the ABI's form.
pub fn unpairs(map: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes([map[at], map[at + 1], map[at + 2], map[at + 3]]) as usize;
    if map.is_empty() {
        return Vec::new();
    }
    let count = word(0);
    let mut at = 4 + count * 8;
    let mut string = |len: usize| {
        let part = map[at..at + len].to_vec();
        at += len + 1;
        part
    };
    (0..count).map(|i| (string(word(4 + i * 8)), string(word(8 + i * 8)))).collect()
}

/// A map of so many entries, with values of this size.
pub fn flood(count: usize, size: usize) -> Vec<u8> {
    let entry = |n: usize| [format!("x-{n}").into_bytes(), vec![b'v'; size]];
    pairs(&(0..count).flat_map(entry).collect::<Vec<_>>())
}

thread_local! {
    /// Counters of this VM by name.
    pub static COUNTS: RefCell<std::collections::BTreeMap<Vec<u8>, u32>> = RefCell::default();
    /// Metric ids by name.
    pub static METRICS: RefCell<std::collections::BTreeMap<Vec<u8>, u32>> = RefCell::default();
}
