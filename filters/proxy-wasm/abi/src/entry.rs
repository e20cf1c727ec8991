//! The exports of a module.

/// Emits the module's exports: those that every module needs, and the callbacks in the list.
///
/// The list is explicit because the proxy crosses into the VM for every callback that is exported.
/// Known ones: `on_vm_start`, `on_tick`, `on_queue_ready`, `on_http_call_response`,
/// `on_request_headers`, `on_request_body`, `on_request_trailers`, `on_response_headers`, `on_done`, `on_log`.
///
/// ```
/// # use portcullis_proxy_wasm_abi::{Host, RootContext};
/// fn new_root(_host: &dyn Host, _root_id: &[u8]) -> Option<Box<dyn RootContext>> {
///     None
/// }
/// portcullis_proxy_wasm_abi::entry!(root = new_root, callbacks = [on_tick, on_request_headers, on_log]);
/// ```
#[macro_export]
macro_rules! entry {
    (root = $factory:path, callbacks = [$($callback:ident),* $(,)?] $(,)?) => {
        const _: $crate::RootFactory = $factory;

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the proxy finds callbacks by their symbol")]
        const _: () = {
            unsafe extern "C" {
                fn __wasm_call_ctors();
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_abi_version_0_2_1() {}

            // Without it the linker takes the module for a command and runs constructors and
            // destructors around every single callback.
            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                // SAFETY: the linker defines it; the proxy calls `_initialize` once, first.
                unsafe { __wasm_call_ctors() };
                $crate::exports::install($factory);
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
                $crate::exports::memory_allocate(size)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_context_create(id: u32, root: u32) {
                $crate::exports::context_create(id, root);
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_configure(id: u32, size: usize) -> u32 {
                $crate::exports::configure(id, size)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_delete(id: u32) {
                $crate::exports::delete(id);
            }

            $($crate::__export!($callback);)*
        };
    };
}

/// One optional export of [`entry!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (on_vm_start) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_vm_start(id: u32, size: usize) -> u32 {
            $crate::exports::vm_start(id, size)
        }
    };
    (on_tick) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(id: u32) {
            $crate::exports::tick(id);
        }
    };
    (on_queue_ready) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_queue_ready(id: u32, queue: u32) {
            $crate::exports::queue_ready(id, queue);
        }
    };
    (on_http_call_response) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_http_call_response(
            _root: u32,
            token: u32,
            headers: usize,
            body: usize,
            trailers: usize,
        ) {
            $crate::exports::http_call_response(token, headers, body, trailers);
        }
    };
    (on_request_headers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_headers(id: u32, _count: usize, end: u32) -> u32 {
            $crate::exports::request_headers(id, end)
        }
    };
    (on_request_body) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_body(id: u32, length: usize, end: u32) -> u32 {
            $crate::exports::request_body(id, length, end)
        }
    };
    (on_request_trailers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_trailers(id: u32, _count: usize) -> u32 {
            $crate::exports::request_trailers(id)
        }
    };
    (on_response_headers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_headers(id: u32, _count: usize, end: u32) -> u32 {
            $crate::exports::response_headers(id, end)
        }
    };
    (on_done) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_done(id: u32) -> u32 {
            $crate::exports::done(id)
        }
    };
    (on_log) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(id: u32) {
            $crate::exports::log(id);
        }
    };
}
