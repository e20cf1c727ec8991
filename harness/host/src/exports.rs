//! The functions that the host calls in a module. All are optional but the allocator.

use wasmtime::{Instance, Store, TypedFunc};

use crate::state::VmState;

macro_rules! exports {
    ($($field:ident: $name:literal ($($param:ident),*) -> ($($result:ident)?);)*) => {
        /// Names and shapes (all parameters and results are i32) of the exports that a host may call.
        pub(crate) const EXPORTS: &[(&str, usize, usize)] = &[
            $(($name, <[&str]>::len(&[$(stringify!($param)),*]), exports!(@count $($result)?)),)*
        ];

        #[derive(Clone)]
        pub(crate) struct Exports {
            $(pub(crate) $field: Option<TypedFunc<($(exports!(@ty $param),)*), exports!(@ret $($result)?)>>,)*
        }

        impl Exports {
            pub(crate) fn find(instance: &Instance, store: &mut Store<VmState>) -> wasmtime::Result<Self> {
                let mut exports = Self {
                    $($field: match instance.get_func(&mut *store, $name) {
                        Some(function) => Some(function.typed(&*store)?),
                        None => None,
                    },)*
                };
                if exports.malloc.is_none() {
                    exports.malloc = exports.memory_allocate.clone();
                }
                Ok(exports)
            }
        }
    };
    (@ty $param:ident) => { i32 };
    (@ret) => { () };
    (@ret $result:ident) => { i32 };
    (@count) => { 0 };
    (@count $result:ident) => { 1 };
}

exports! {
    initialize: "_initialize" () -> ();
    start: "_start" () -> ();
    main: "main" (argc, argv) -> (code);
    main_void: "__main_void" () -> (code);
    malloc: "malloc" (size) -> (pointer);
    memory_allocate: "proxy_on_memory_allocate" (size) -> (pointer);
    context_create: "proxy_on_context_create" (context, root) -> ();
    vm_start: "proxy_on_vm_start" (root, size) -> (ok);
    configure: "proxy_on_configure" (root, size) -> (ok);
    tick: "proxy_on_tick" (root) -> ();
    queue_ready: "proxy_on_queue_ready" (root, queue) -> ();
    request_headers: "proxy_on_request_headers" (context, count, end) -> (action);
    request_body: "proxy_on_request_body" (context, size, end) -> (action);
    request_trailers: "proxy_on_request_trailers" (context, count) -> (action);
    response_headers: "proxy_on_response_headers" (context, count, end) -> (action);
    response_body: "proxy_on_response_body" (context, size, end) -> (action);
    response_trailers: "proxy_on_response_trailers" (context, count) -> (action);
    http_call_response: "proxy_on_http_call_response" (context, call, headers, body, trailers) -> ();
    grpc_receive: "proxy_on_grpc_receive" (context, call, size) -> ();
    grpc_close: "proxy_on_grpc_close" (context, call, status) -> ();
    log: "proxy_on_log" (context) -> ();
    done: "proxy_on_done" (context) -> (finished);
    delete: "proxy_on_delete" (context) -> ();
}
