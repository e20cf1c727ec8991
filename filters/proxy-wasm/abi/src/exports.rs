//! What the exports that [`entry!`](crate::entry!) emits do. Not for direct use.

use crate::abi::{HANDOVER, WasmHost};
use crate::context::{CallResponse, RootFactory};
use crate::dispatch::Dispatcher;
use crate::types::{CallToken, ContextId, QueueId};

thread_local! {
    static VM: Vm = Vm::default();
}

#[derive(Default)]
struct Vm {
    dispatcher: Dispatcher,
    host: WasmHost,
}

/// `_initialize`
pub fn install(factory: RootFactory) {
    VM.with(|vm| vm.dispatcher.set_factory(factory));
}

/// `proxy_on_memory_allocate`
pub fn memory_allocate(size: usize) -> *mut u8 {
    HANDOVER.with(|handover| handover.allocate(size))
}

/// `proxy_on_context_create`
pub fn context_create(id: u32, root: u32) {
    VM.with(|vm| vm.dispatcher.on_context_create(&vm.host, ContextId(id), ContextId(root)));
}

/// `proxy_on_vm_start`
pub fn vm_start(id: u32, size: usize) -> u32 {
    VM.with(|vm| u32::from(vm.dispatcher.on_vm_start(&vm.host, ContextId(id), size)))
}

/// `proxy_on_configure`
pub fn configure(id: u32, size: usize) -> u32 {
    VM.with(|vm| u32::from(vm.dispatcher.on_configure(&vm.host, ContextId(id), size)))
}

/// `proxy_on_tick`
pub fn tick(id: u32) {
    VM.with(|vm| vm.dispatcher.on_tick(&vm.host, ContextId(id)));
}

/// `proxy_on_queue_ready`
pub fn queue_ready(id: u32, queue: u32) {
    VM.with(|vm| vm.dispatcher.on_queue_ready(&vm.host, ContextId(id), QueueId(queue)));
}

/// `proxy_on_http_call_response`
pub fn http_call_response(token: u32, headers: usize, body: usize, trailers: usize) {
    let response = CallResponse { token: CallToken(token), headers, body, trailers };
    VM.with(|vm| vm.dispatcher.on_http_call_response(&vm.host, response));
}

/// `proxy_on_request_headers`
pub fn request_headers(id: u32, end: u32) -> u32 {
    VM.with(|vm| vm.dispatcher.on_request_headers(&vm.host, ContextId(id), end != 0)) as u32
}

/// `proxy_on_request_body`
pub fn request_body(id: u32, length: usize, end: u32) -> u32 {
    VM.with(|vm| vm.dispatcher.on_request_body(&vm.host, ContextId(id), length, end != 0)) as u32
}

/// `proxy_on_request_trailers`
pub fn request_trailers(id: u32) -> u32 {
    VM.with(|vm| vm.dispatcher.on_request_trailers(&vm.host, ContextId(id))) as u32
}

/// `proxy_on_response_headers`
pub fn response_headers(id: u32, end: u32) -> u32 {
    VM.with(|vm| vm.dispatcher.on_response_headers(&vm.host, ContextId(id), end != 0)) as u32
}

/// `proxy_on_done`
pub fn done(id: u32) -> u32 {
    VM.with(|vm| u32::from(vm.dispatcher.on_done(&vm.host, ContextId(id))))
}

/// `proxy_on_log`
pub fn log(id: u32) {
    VM.with(|vm| vm.dispatcher.on_log(&vm.host, ContextId(id)));
}

/// `proxy_on_delete`
pub fn delete(id: u32) {
    VM.with(|vm| vm.dispatcher.on_delete(&vm.host, ContextId(id)));
}
