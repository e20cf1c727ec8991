//! The hostcalls by the names that scripts use.

use crate::abi::*;
use crate::text::escape;

/// A header's status and value.
pub fn header(map: u32, name: &[u8]) -> (u32, Vec<u8>) {
    // SAFETY: all pointers live through the call.
    taking(|value, size| unsafe { proxy_get_header_map_value(map, name.as_ptr(), name.len(), value, size) })
}

/// A buffer's status and bytes.
pub fn buffer(kind: u32, start: u32, len: u32) -> (u32, Vec<u8>) {
    // SAFETY: as above.
    taking(|data, size| unsafe { proxy_get_buffer_bytes(kind, start, len, data, size) })
}

/// Makes the call. Its status, and what it answered as text.
pub fn call(context: u32, name: &str, arguments: &[Vec<u8>]) -> (u32, String) {
    let bytes = |at: usize| arguments.get(at).map_or(&[][..], Vec::as_slice);
    let number = |at: usize| std::str::from_utf8(bytes(at)).ok().and_then(|n| n.parse::<i64>().ok()).unwrap_or(0);
    let word = |at: usize| number(at) as u32;
    let rest = |from: usize| arguments.get(from..).unwrap_or_default();
    // SAFETY: all pointers live through each call, and the host writes only into the places given.
    unsafe {
        match name {
            "get" => shown(header(word(0), bytes(1))),
            "pairs" => {
                let (status, map) = taking(|map, size| proxy_get_header_map_pairs(word(0), map, size));
                let entries: Vec<_> =
                    unpairs(&map).iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
                (status, entries.join("|"))
            }
            "size" => {
                let mut size = 0;
                (proxy_get_header_map_size(word(0), &mut size), size.to_string())
            }
            "add" => plain(with(bytes(1), bytes(2), |n, l, v, s| proxy_add_header_map_value(word(0), n, l, v, s))),
            "replace" => {
                plain(with(bytes(1), bytes(2), |n, l, v, s| proxy_replace_header_map_value(word(0), n, l, v, s)))
            }
            "remove" => plain(proxy_remove_header_map_value(word(0), bytes(1).as_ptr(), bytes(1).len())),
            "set_pairs" => {
                let map = pairs(rest(1));
                plain(proxy_set_header_map_pairs(word(0), map.as_ptr(), map.len()))
            }
            "set_map" => plain(proxy_set_header_map_pairs(word(0), bytes(1).as_ptr(), bytes(1).len())),
            "flood" => {
                let map = flood(word(1) as usize, word(2) as usize);
                plain(proxy_set_header_map_pairs(word(0), map.as_ptr(), map.len()))
            }
            "body" => shown(buffer(word(0), word(1), word(2))),
            "body_status" => {
                let (mut len, mut flags) = (0, 0);
                (proxy_get_buffer_status(word(0), &mut len, &mut flags), len.to_string())
            }
            "set_body" => {
                let data = bytes(3);
                plain(proxy_set_buffer_bytes(word(0), word(1), word(2), data.as_ptr(), data.len()))
            }
            "property" => {
                let path: Vec<u8> = bytes(0).iter().map(|b| if *b == b'|' { 0 } else { *b }).collect();
                shown(taking(|value, size| proxy_get_property(path.as_ptr(), path.len(), value, size)))
            }
            "has_property" => {
                let path: Vec<u8> = bytes(0).iter().map(|b| if *b == b'|' { 0 } else { *b }).collect();
                let (status, value) = taking(|value, size| proxy_get_property(path.as_ptr(), path.len(), value, size));
                (status, value.len().to_string())
            }
            "set_property" => plain(with(bytes(0), bytes(1), |p, l, v, s| proxy_set_property(p, l, v, s))),
            "reply" => {
                let headers = pairs(rest(4));
                plain(proxy_send_local_response(
                    word(0),
                    bytes(1).as_ptr(),
                    bytes(1).len(),
                    bytes(2).as_ptr(),
                    bytes(2).len(),
                    headers.as_ptr(),
                    headers.len(),
                    number(3) as i32,
                ))
            }
            "continue" => plain(proxy_continue_stream(word(0))),
            "close" => plain(proxy_close_stream(word(0))),
            "effective" => plain(proxy_set_effective_context(if arguments.is_empty() { context } else { word(0) })),
            "tick_period" => plain(proxy_set_tick_period_milliseconds(word(0))),
            "done" => plain(proxy_done()),
            "log" => plain(proxy_log(word(0), bytes(1).as_ptr(), bytes(1).len())),
            "log_level" => {
                let mut level = 0;
                (proxy_get_log_level(&mut level), level.to_string())
            }
            "time" => {
                let mut time = 0;
                (proxy_get_current_time_nanoseconds(&mut time), (time > 1_600_000_000_000_000_000).to_string())
            }
            "status" => {
                let mut code = 0;
                let (status, text) = taking(|text, size| proxy_get_status(&mut code, text, size));
                (status, format!("{code} {}", escape(&text)))
            }
            _ => more(name, arguments),
        }
    }
}

fn more(name: &str, arguments: &[Vec<u8>]) -> (u32, String) {
    let bytes = |at: usize| arguments.get(at).map_or(&[][..], Vec::as_slice);
    let number = |at: usize| std::str::from_utf8(bytes(at)).ok().and_then(|n| n.parse::<i64>().ok()).unwrap_or(0);
    let word = |at: usize| number(at) as u32;
    let rest = |from: usize| arguments.get(from..).unwrap_or_default();
    // SAFETY: as above.
    unsafe {
        match name {
            "shared_get" => {
                let mut cas = 0;
                let (status, value) = taking(|value, size| {
                    proxy_get_shared_data(bytes(0).as_ptr(), bytes(0).len(), value, size, &mut cas)
                });
                (status, escape(&value))
            }
            "shared_set" => plain(with(bytes(0), bytes(1), |k, l, v, s| proxy_set_shared_data(k, l, v, s, word(2)))),
            "shared_swap" => {
                let mut cas = 0;
                let (_, _) = taking(|value, size| {
                    proxy_get_shared_data(bytes(0).as_ptr(), bytes(0).len(), value, size, &mut cas)
                });
                let cas = cas.wrapping_add(word(2));
                plain(with(bytes(0), bytes(1), |k, l, v, s| proxy_set_shared_data(k, l, v, s, cas)))
            }
            "add_up" => add_up(bytes(0)),
            "counted" => (0, counted(bytes(0), 0).to_string()),
            "has_counted" => (0, (counted(bytes(0), 0) > 0).to_string()),
            "random" => {
                let mut random = vec![0; word(0) as usize];
                (random_get(random.as_mut_ptr(), random.len()), escape(&random))
            }
            "queue" => {
                let mut token = 0;
                plain(proxy_register_shared_queue(bytes(0).as_ptr(), bytes(0).len(), &mut token))
            }
            "enqueue" => {
                let token = resolve(bytes(0));
                plain(proxy_enqueue_shared_queue(token, bytes(1).as_ptr(), bytes(1).len()))
            }
            "dequeue" => {
                let token = resolve(bytes(0));
                shown(taking(|data, size| proxy_dequeue_shared_queue(token, data, size)))
            }
            "resolve" => {
                let mut token = 0;
                plain(with(bytes(0), bytes(1), |vm, l, n, s| proxy_resolve_shared_queue(vm, l, n, s, &mut token)))
            }
            "metric" => {
                let mut id = 0;
                let status = proxy_define_metric(word(0), bytes(1).as_ptr(), bytes(1).len(), &mut id);
                METRICS.with_borrow_mut(|metrics| metrics.insert(bytes(1).to_vec(), id));
                plain(status)
            }
            "increment" => plain(proxy_increment_metric(metric(bytes(0)), number(1))),
            "record" => plain(proxy_record_metric(metric(bytes(0)), number(1) as u64)),
            "metric_value" => {
                let mut value = 0;
                (proxy_get_metric(metric(bytes(0)), &mut value), value.to_string())
            }
            "call" => {
                let headers = pairs(rest(3));
                let mut token = 0;
                let status = proxy_http_call(
                    bytes(0).as_ptr(),
                    bytes(0).len(),
                    headers.as_ptr(),
                    headers.len(),
                    bytes(2).as_ptr(),
                    bytes(2).len(),
                    [].as_ptr(),
                    0,
                    word(1),
                    &mut token,
                );
                (status, token.to_string())
            }
            "grpc" => {
                let mut token = 0;
                let metadata = pairs(rest(5));
                let status = proxy_grpc_call(
                    bytes(0).as_ptr(),
                    bytes(0).len(),
                    bytes(1).as_ptr(),
                    bytes(1).len(),
                    bytes(2).as_ptr(),
                    bytes(2).len(),
                    metadata.as_ptr(),
                    metadata.len(),
                    bytes(3).as_ptr(),
                    bytes(3).len(),
                    word(4),
                    &mut token,
                );
                (status, token.to_string())
            }
            "grpc_stream" => {
                let mut token = 0;
                let status = proxy_grpc_stream(
                    bytes(0).as_ptr(),
                    bytes(0).len(),
                    bytes(1).as_ptr(),
                    bytes(1).len(),
                    bytes(2).as_ptr(),
                    bytes(2).len(),
                    [].as_ptr(),
                    0,
                    &mut token,
                );
                (status, token.to_string())
            }
            "grpc_send" => plain(proxy_grpc_send(word(0), bytes(1).as_ptr(), bytes(1).len(), 0)),
            "grpc_cancel" => plain(proxy_grpc_cancel(word(0))),
            "foreign" => shown(taking(|results, size| {
                proxy_call_foreign_function(
                    bytes(0).as_ptr(),
                    bytes(0).len(),
                    bytes(1).as_ptr(),
                    bytes(1).len(),
                    results,
                    size,
                )
            })),
            "env" => (0, std::env::var(String::from_utf8_lossy(bytes(0)).as_ref()).unwrap_or_default()),
            "stdout" => {
                println!("{}", escape(bytes(0)));
                (0, String::new())
            }
            "wild" => (wild(word(0)), String::new()),
            other => (u32::MAX, format!("the probe knows no call {other}")),
        }
    }
}

/// Calls with pointers that lead nowhere.
fn wild(which: u32) -> u32 {
    let nowhere = 0xffff_fff0 as *const u8;
    let mut size = 0;
    let mut data = std::ptr::null_mut();
    // SAFETY: the host must check the pointers; that is what is tried here.
    unsafe {
        match which {
            0 => proxy_log(2, nowhere, 64),
            1 => proxy_get_header_map_value(0, nowhere, 64, &mut data, &mut size),
            2 => proxy_get_header_map_value(99, b"a".as_ptr(), 1, &mut data, &mut size),
            3 => proxy_add_header_map_value(0, b"a".as_ptr(), 1, nowhere, 64),
            4 => proxy_get_buffer_bytes(99, 0, 1, &mut data, &mut size),
            5 => proxy_set_header_map_pairs(0, nowhere, 64),
            6 => proxy_define_metric(9, b"a".as_ptr(), 1, &mut 0),
            7 => proxy_increment_metric(9_999, 1),
            8 => proxy_dequeue_shared_queue(9_999, &mut data, &mut size),
            9 => proxy_log(77, b"a".as_ptr(), 1),
            10 => proxy_continue_stream(99),
            11 => proxy_set_effective_context(99_999),
            _ => proxy_get_property(nowhere, 64, &mut data, &mut size),
        }
    }
}

/// Adds one to a number in the shared data, whoever else does so at the same time.
pub fn add_up(key: &[u8]) -> (u32, String) {
    // A number that is never given: it makes a new entry and leaves a present one alone.
    const IF_ABSENT: u32 = u32::MAX;
    let set = |value: &str, cas| {
        // SAFETY: as above.
        with(key, value.as_bytes(), |k, l, v, s| unsafe { proxy_set_shared_data(k, l, v, s, cas) })
    };
    set("0", IF_ABSENT);
    loop {
        let mut cas = 0;
        // SAFETY: as above.
        let (_, present) =
            taking(|value, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), value, size, &mut cas) });
        let next = (String::from_utf8_lossy(&present).parse::<u64>().unwrap_or(0) + 1).to_string();
        if set(&next, cas) == 0 {
            return (0, next);
        }
    }
}

/// A counter of this VM, after so much was added to it.
pub fn counted(name: &[u8], more: u32) -> u32 {
    COUNTS.with_borrow_mut(|counts| {
        let count = counts.entry(name.to_vec()).or_default();
        *count += more;
        *count
    })
}

fn resolve(name: &[u8]) -> u32 {
    let mut token = 0;
    // SAFETY: as above.
    unsafe { proxy_resolve_shared_queue([].as_ptr(), 0, name.as_ptr(), name.len(), &mut token) };
    token
}

fn metric(name: &[u8]) -> u32 {
    METRICS.with_borrow(|metrics| metrics.get(name).copied().unwrap_or(u32::MAX - 3))
}

fn with(a: &[u8], b: &[u8], call: impl FnOnce(*const u8, usize, *const u8, usize) -> u32) -> u32 {
    call(a.as_ptr(), a.len(), b.as_ptr(), b.len())
}

fn plain(status: u32) -> (u32, String) {
    (status, String::new())
}

fn shown((status, bytes): (u32, Vec<u8>)) -> (u32, String) {
    (status, escape(&bytes))
}
