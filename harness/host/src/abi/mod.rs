//! The functions that a module imports.

mod buffers;
mod callouts;
mod control;
mod cx;
mod foreign;
mod headers;
mod metrics;
mod properties;
mod shared;
mod signatures;
mod wasi;

use wasmtime::{Caller, Linker};

use crate::state::VmState;
use crate::world::Fault;
use cx::{Offered, run};

/// The names of all hostcalls that a module can make.
pub(crate) fn hostcalls() -> Vec<&'static str> {
    HOSTCALLS.iter().chain(wasi::HOSTCALLS).copied().collect()
}

/// Whether there is a hostcall of this name.
pub(crate) fn is_hostcall(name: &str) -> bool {
    hostcalls().contains(&name)
}

impl Fault {
    /// Only calls of this name, for example `proxy_get_property`.
    ///
    /// # Panics
    /// If no hostcall has that name.
    #[must_use]
    #[track_caller]
    pub fn on(mut self, call: impl Into<String>) -> Self {
        let call = call.into();
        assert!(is_hostcall(&call), "no hostcall is named {call:?}: there is {}", hostcalls().join(", "));
        self.call = Some(call);
        self
    }
}

macro_rules! hostcalls {
    ($($name:ident($($arg:ident: $ty:ty),*) = $body:path;)*) => {
    const HOSTCALLS: &[&str] = &[$(stringify!($name),)*];

    fn register_hostcalls(linker: &mut Linker<VmState>, offered: &mut Offered) -> wasmtime::Result<()> {$(
        linker.func_wrap(
            "env",
            stringify!($name),
            |mut caller: Caller<'_, VmState>, $($arg: $ty),*| -> wasmtime::Result<u32> {
                run(&mut caller, stringify!($name), |cx| $body(cx, $($arg),*))
            },
        )?;
        offered.insert(("env", stringify!($name)));
    )*
        Ok(())
    }
    };
}

/// Puts every import into the linker.
pub(crate) fn register(linker: &mut Linker<VmState>) -> wasmtime::Result<Offered> {
    let mut offered = Offered::new();
    register_hostcalls(linker, &mut offered)?;
    wasi::register(linker, &mut offered)?;
    Ok(offered)
}

hostcalls! {
    proxy_log(level: u32, text: u32, size: u32) = control::log;
    proxy_get_log_level(level: u32) = control::get_log_level;
    proxy_get_current_time_nanoseconds(time: u32) = control::get_time;
    proxy_set_tick_period_milliseconds(period: u32) = control::set_tick_period;
    proxy_done() = control::done;
    proxy_set_effective_context(context: u32) = control::set_effective_context;
    proxy_continue_stream(stream: u32) = control::continue_stream;
    proxy_close_stream(stream: u32) = control::close_stream;
    proxy_get_status(code: u32, text: u32, size: u32) = control::get_status;
    proxy_send_local_response(
        status: u32, details: u32, details_size: u32, body: u32, body_size: u32,
        headers: u32, headers_size: u32, grpc: i32
    ) = control::send_local_response;

    proxy_get_header_map_size(kind: u32, size: u32) = headers::size;
    proxy_get_header_map_pairs(kind: u32, map: u32, size: u32) = headers::get_all;
    proxy_set_header_map_pairs(kind: u32, map: u32, size: u32) = headers::set_all;
    proxy_get_header_map_value(kind: u32, name: u32, len: u32, value: u32, size: u32) = headers::get;
    proxy_add_header_map_value(kind: u32, name: u32, len: u32, value: u32, size: u32) = headers::add;
    proxy_replace_header_map_value(kind: u32, name: u32, len: u32, value: u32, size: u32)
        = headers::replace;
    proxy_remove_header_map_value(kind: u32, name: u32, len: u32) = headers::remove;

    proxy_get_buffer_bytes(kind: u32, start: u32, len: u32, data: u32, size: u32) = buffers::get;
    proxy_get_buffer_status(kind: u32, len: u32, flags: u32) = buffers::status;
    proxy_set_buffer_bytes(kind: u32, start: u32, len: u32, data: u32, size: u32) = buffers::set;

    proxy_get_property(path: u32, len: u32, value: u32, size: u32) = properties::get;
    proxy_set_property(path: u32, len: u32, value: u32, size: u32) = properties::set;

    proxy_get_shared_data(key: u32, len: u32, value: u32, size: u32, cas: u32) = shared::get_data;
    proxy_set_shared_data(key: u32, len: u32, value: u32, size: u32, cas: u32) = shared::set_data;
    proxy_register_shared_queue(name: u32, len: u32, token: u32) = shared::register_queue;
    proxy_resolve_shared_queue(vm: u32, vm_len: u32, name: u32, len: u32, token: u32)
        = shared::resolve_queue;
    proxy_enqueue_shared_queue(token: u32, data: u32, size: u32) = shared::enqueue;
    proxy_dequeue_shared_queue(token: u32, data: u32, size: u32) = shared::dequeue;

    proxy_define_metric(kind: u32, name: u32, len: u32, id: u32) = metrics::define;
    proxy_increment_metric(id: u32, offset: i64) = metrics::increment;
    proxy_record_metric(id: u32, value: u64) = metrics::record;
    proxy_get_metric(id: u32, value: u32) = metrics::get;

    proxy_http_call(
        cluster: u32, cluster_size: u32, headers: u32, headers_size: u32, body: u32, body_size: u32,
        trailers: u32, trailers_size: u32, timeout: u32, token: u32
    ) = callouts::http_call;
    proxy_grpc_call(
        service: u32, service_size: u32, name: u32, name_size: u32, method: u32, method_size: u32,
        metadata: u32, metadata_size: u32, message: u32, message_size: u32, timeout: u32, token: u32
    ) = callouts::grpc_call;
    proxy_grpc_stream(
        service: u32, service_size: u32, name: u32, name_size: u32, method: u32, method_size: u32,
        metadata: u32, metadata_size: u32, token: u32
    ) = callouts::grpc_stream;
    proxy_grpc_send(token: u32, message: u32, size: u32, end: u32) = callouts::grpc_send;
    proxy_grpc_cancel(token: u32) = callouts::grpc_cancel;
    proxy_grpc_close(token: u32) = callouts::grpc_cancel;

    proxy_call_foreign_function(
        name: u32, len: u32, arguments: u32, arguments_size: u32, results: u32, results_size: u32
    ) = foreign::call;
}
