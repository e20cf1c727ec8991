//! The hostcalls: the one module of the project that is not safe Rust.
#![allow(
    unsafe_code,
    reason = "hostcalls are foreign functions; every call passes pointers into live slices and locals"
)]

mod raw;

use std::time::Duration;

use crate::calls::{Calls, Proxy};
use crate::error::{HostErrorKind, HostResult, absent};
use crate::host::{Block, Header, Host, HttpCall, LocalResponse, SharedValue};
use crate::memory::Handover;
use crate::pairs;
use crate::types::{BufferType, CallToken, Cas, ContextId, LogLevel, MapType, MetricId, MetricType, QueueId};

thread_local! {
    /// Memory on its way from the proxy to a hostcall's caller.
    pub(crate) static HANDOVER: Handover = const { Handover::new() };
}

/// `proxy_continue_stream` of a request (SDKs name it `HttpRequest`).
const STREAM_HTTP_REQUEST: u32 = 0;
/// WASI clock ids.
const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
/// Bytes of a property's path for which the stack has room.
const PATH_ROOM: usize = 64;
/// "No gRPC status given."
const NO_GRPC_STATUS: i32 = -1;

/// The proxy that this module runs in.
#[derive(Debug, Default)]
pub(crate) struct WasmHost {
    calls: Calls,
}

impl Proxy for WasmHost {
    fn calls(&self) -> &Calls {
        &self.calls
    }
}

/// Names the status of a hostcall.
fn check(call: &'static str, status: u32) -> HostResult<()> {
    HostErrorKind::check(status).map_err(|fault| fault.of(call))
}

/// Runs a hostcall that hands over a buffer.
fn fetch(call: &'static str, run: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> HostResult<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    check(call, run(&mut data, &mut size))?;
    HANDOVER.with(|handover| handover.take(data, size)).map_err(|fault| fault.of(call))
}

/// Runs a hostcall that hands over a buffer, which is to be given back.
fn borrow(call: &'static str, run: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> HostResult<Block> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    check(call, run(&mut data, &mut size))?;
    HANDOVER.with(|handover| handover.lend(data, size)).map_err(|fault| fault.of(call))
}

/// Reads a property into a buffer that is to be given back; `None` when it is not set.
fn property(path: &[&str]) -> HostResult<Option<Block>> {
    if let [joined] = path {
        return joined_property(joined.as_bytes());
    }
    let mut room = [0; PATH_ROOM];
    match joined(path, &mut room) {
        Some(path) => joined_property(path),
        None => joined_property(path.join("\0").as_bytes()),
    }
}

/// Reads a property whose path is joined by NUL already.
fn joined_property(path: &[u8]) -> HostResult<Option<Block>> {
    // SAFETY: as of the hostcalls below.
    let value = borrow("get_property", |data, size| unsafe {
        raw::proxy_get_property(path.as_ptr(), path.len(), data, size)
    });
    absent(value, HostErrorKind::NotFound)
}

fn give_back(block: Block) {
    HANDOVER.with(|handover| handover.give_back(block.buffer));
}

/// Runs a hostcall that answers a number.
fn number(call: &'static str, run: impl FnOnce(*mut u32) -> u32) -> HostResult<u32> {
    let mut value = 0;
    check(call, run(&mut value))?;
    Ok(value)
}

fn clock(id: u32) -> HostResult<u64> {
    const CALL: &str = "clock_time_get";
    let mut time = 0;
    // SAFETY: `time` is a live local that the proxy writes 8 bytes to.
    check(CALL, unsafe { raw::clock_time_get(id, 1, &mut time) }.into())?;
    Ok(time)
}

/// Joins a property's path by NUL without allocating; `None` when it does not fit.
fn joined<'a>(path: &[&str], room: &'a mut [u8; PATH_ROOM]) -> Option<&'a [u8]> {
    let mut end = 0;
    for (index, segment) in path.iter().enumerate() {
        if index > 0 {
            end += 1;
        }
        room.get_mut(end..end + segment.len())?.copy_from_slice(segment.as_bytes());
        end += segment.len();
    }
    room.get(..end)
}

/// Whole milliseconds, rounded up so that no positive time becomes 0 ("none").
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

// SAFETY of every block below: pointers and lengths come from live slices, which the proxy only
// reads during the call, or from live locals, which it writes one value of the declared type to.
impl Host for WasmHost {
    fn log(&self, level: LogLevel, message: &str) {
        // Nobody could do anything about a log that fails.
        let _ = unsafe { raw::proxy_log(level as u32, message.as_ptr(), message.len()) };
    }

    fn now(&self) -> HostResult<u64> {
        clock(CLOCK_REALTIME)
    }

    fn monotonic(&self) -> HostResult<u64> {
        clock(CLOCK_MONOTONIC)
    }

    fn random(&self, out: &mut [u8]) -> HostResult<()> {
        let errno = unsafe { raw::random_get(out.as_mut_ptr(), out.len()) };
        check("random_get", errno.into())
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes)
    }

    fn header_block(&self, map: MapType, reuse: Vec<u8>) -> HostResult<Block> {
        let aside = HANDOVER.with(|handover| handover.offer(reuse));
        let block = borrow("get_header_map_pairs", |data, size| unsafe {
            raw::proxy_get_header_map_pairs(map as u32, data, size)
        });
        HANDOVER.with(|handover| handover.give_back(aside));
        block
    }

    fn header(&self, map: MapType, name: &str) -> HostResult<Option<Vec<u8>>> {
        let value = fetch("get_header_map_value", |data, size| unsafe {
            raw::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
        });
        absent(value, HostErrorKind::NotFound)
    }

    fn add_header(&self, map: MapType, name: &str, value: &[u8]) -> HostResult<()> {
        check("add_header_map_value", unsafe {
            raw::proxy_add_header_map_value(
                map as u32,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    fn replace_header(&self, map: MapType, name: &str, value: &[u8]) -> HostResult<()> {
        check("replace_header_map_value", unsafe {
            raw::proxy_replace_header_map_value(
                map as u32,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    fn remove_header(&self, map: MapType, name: &[u8]) -> HostResult<()> {
        const CALL: &str = "remove_header_map_value";
        let status = unsafe { raw::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
        absent(check(CALL, status), HostErrorKind::NotFound).map(|_| ())
    }

    fn set_pairs(&self, map: MapType, pairs: &[Header<'_>]) -> HostResult<()> {
        const CALL: &str = "set_header_map_pairs";
        let buffer = pairs::encode(pairs).map_err(|fault| fault.of(CALL))?;
        check(CALL, unsafe { raw::proxy_set_header_map_pairs(map as u32, buffer.as_ptr(), buffer.len()) })
    }

    fn property(&self, path: &[&str]) -> HostResult<Option<Vec<u8>>> {
        let block = property(path)?;
        Ok(block.map(|block| {
            let value = block.bytes().to_vec();
            give_back(block);
            value
        }))
    }

    fn property_i64(&self, path: &[&str]) -> HostResult<Option<i64>> {
        let Some(block) = property(path)? else { return Ok(None) };
        let number = block.bytes().try_into().map(i64::from_le_bytes);
        give_back(block);
        number.map(Some).map_err(|_| HostErrorKind::Malformed.of("get_property"))
    }

    fn set_property(&self, path: &[&str], value: &[u8]) -> HostResult<()> {
        let path = path.join("\0");
        check("set_property", unsafe {
            raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len())
        })
    }

    fn buffer(&self, buffer: BufferType, start: usize, max: usize) -> HostResult<Vec<u8>> {
        let bytes = fetch("get_buffer_bytes", |data, size| unsafe {
            raw::proxy_get_buffer_bytes(buffer as u32, start, max, data, size)
        });
        Ok(absent(bytes, HostErrorKind::NotFound)?.unwrap_or_default())
    }

    fn send_local_response(&self, response: &LocalResponse<'_>) -> HostResult<()> {
        const CALL: &str = "send_local_response";
        let headers = pairs::encode(response.headers).map_err(|fault| fault.of(CALL))?;
        let grpc_status = match response.grpc_status {
            Some(status) => i32::try_from(status).map_err(|_| HostErrorKind::TooLarge.of(CALL))?,
            None => NO_GRPC_STATUS,
        };
        check(CALL, unsafe {
            raw::proxy_send_local_response(
                response.status.into(),
                response.details.as_ptr(),
                response.details.len(),
                response.body.as_ptr(),
                response.body.len(),
                headers.as_ptr(),
                headers.len(),
                grpc_status,
            )
        })
    }

    fn resume_http_request(&self) -> HostResult<()> {
        check("continue_stream", unsafe { raw::proxy_continue_stream(STREAM_HTTP_REQUEST) })
    }

    fn http_call(&self, call: &HttpCall<'_>) -> HostResult<CallToken> {
        const CALL: &str = "http_call";
        let headers = pairs::encode(call.headers).map_err(|fault| fault.of(CALL))?;
        let trailers = pairs::encode(call.trailers).map_err(|fault| fault.of(CALL))?;
        let token = number(CALL, |token| unsafe {
            raw::proxy_http_call(
                call.upstream.as_ptr(),
                call.upstream.len(),
                headers.as_ptr(),
                headers.len(),
                call.body.as_ptr(),
                call.body.len(),
                trailers.as_ptr(),
                trailers.len(),
                millis(call.timeout),
                token,
            )
        })?;
        self.calls.sent(CallToken(token));
        Ok(CallToken(token))
    }

    fn shared_data(&self, key: &str) -> HostResult<Option<SharedValue>> {
        let mut cas = 0;
        let data = fetch("get_shared_data", |data, size| unsafe {
            raw::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
        });
        let data = absent(data, HostErrorKind::NotFound)?;
        Ok(data.map(|data| SharedValue { data, cas: Cas(cas) }))
    }

    fn set_shared_data(&self, key: &str, value: &[u8], cas: Option<Cas>) -> HostResult<()> {
        let cas = cas.map_or(0, |cas| cas.0);
        check("set_shared_data", unsafe {
            raw::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
        })
    }

    fn register_queue(&self, name: &str) -> HostResult<QueueId> {
        let id = number("register_shared_queue", |id| unsafe {
            raw::proxy_register_shared_queue(name.as_ptr(), name.len(), id)
        })?;
        Ok(QueueId(id))
    }

    fn resolve_queue(&self, vm_id: &str, name: &str) -> HostResult<Option<QueueId>> {
        let id = number("resolve_shared_queue", |id| unsafe {
            raw::proxy_resolve_shared_queue(vm_id.as_ptr(), vm_id.len(), name.as_ptr(), name.len(), id)
        });
        Ok(absent(id, HostErrorKind::NotFound)?.map(QueueId))
    }

    fn enqueue(&self, queue: QueueId, value: &[u8]) -> HostResult<()> {
        check("enqueue_shared_queue", unsafe {
            raw::proxy_enqueue_shared_queue(queue.0, value.as_ptr(), value.len())
        })
    }

    fn dequeue(&self, queue: QueueId) -> HostResult<Option<Vec<u8>>> {
        let value = fetch("dequeue_shared_queue", |data, size| unsafe {
            raw::proxy_dequeue_shared_queue(queue.0, data, size)
        });
        absent(value, HostErrorKind::Empty)
    }

    fn set_tick_period(&self, period: Duration) -> HostResult<()> {
        check("set_tick_period_milliseconds", unsafe {
            raw::proxy_set_tick_period_milliseconds(millis(period))
        })
    }

    fn define_metric(&self, kind: MetricType, name: &str) -> HostResult<MetricId> {
        let id = number("define_metric", |id| unsafe {
            raw::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), id)
        })?;
        Ok(MetricId(id))
    }

    fn increment_metric(&self, metric: MetricId, offset: i64) -> HostResult<()> {
        check("increment_metric", unsafe { raw::proxy_increment_metric(metric.0, offset) })
    }

    fn record_metric(&self, metric: MetricId, value: u64) -> HostResult<()> {
        check("record_metric", unsafe { raw::proxy_record_metric(metric.0, value) })
    }

    fn call_foreign(&self, function: &str, arguments: &[u8]) -> HostResult<Vec<u8>> {
        fetch("call_foreign_function", |data, size| unsafe {
            raw::proxy_call_foreign_function(
                function.as_ptr(),
                function.len(),
                arguments.as_ptr(),
                arguments.len(),
                data,
                size,
            )
        })
    }

    fn set_effective_context(&self, context: ContextId) -> HostResult<()> {
        check("set_effective_context", unsafe { raw::proxy_set_effective_context(context.0) })?;
        // What is sent from now on is this context's.
        self.calls.enter(context);
        Ok(())
    }

    fn done(&self) -> HostResult<()> {
        check("done", unsafe { raw::proxy_done() })
    }
}
