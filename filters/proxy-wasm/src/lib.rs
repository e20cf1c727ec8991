//! `portcullis.wasm`: the engine as a Proxy-Wasm module.
//!
//! The root id (`WasmPlugin.pluginName`) picks the stages ([`portcullis_roots`]). All plugins of this module
//! in one worker share a VM, and so one copy of the snapshot.
//!
//! This crate translates between the engine's ports and the ABI, and decides nothing.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod http;
mod metrics;
mod port;
mod root;
mod vm;

pub use root::{new_root, new_root_of};

#[doc(hidden)]
pub use portcullis_proxy_wasm_abi as abi;

/// Makes a Wasm module of a function that gives root contexts: exports what the adapter wants to be called for.
#[macro_export]
macro_rules! module {
    ($new_root:path) => {
        $crate::abi::entry!(
            root = $new_root,
            callbacks = [
                on_tick,
                on_http_call_response,
                on_request_headers,
                on_request_body,
                on_request_trailers,
                on_response_headers,
                on_log,
            ]
        );
    };
}

// Behind a feature, since a module with roots of its own brings exports of its own.
#[cfg(feature = "module")]
module!(new_root);
