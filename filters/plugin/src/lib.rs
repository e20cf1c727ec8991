//! `portcullis.wasm`: the stages of Portcullis as one Proxy-Wasm module.
//!
//! The root id (`WasmPlugin.pluginName`) picks the stages: `gateway` runs all of them in one context;
//! `authn`, `source-type`, `cluster-status` and `audit` run one each. All plugins of this module in one
//! worker share a VM, and so one copy of the snapshot.
//!
//! This crate is a thin shell: what is decided, and by what rules, is in the crates of the stages.

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

mod cache;
mod exchange;
mod forward;
mod head;
mod http;
mod identify;
mod introspect;
mod link;
mod places;
mod platform;
mod poll;
mod problem;
mod record;
mod refresh;
mod refuse;
mod root;
mod stages;
mod tokens;
mod vm;
mod waiting;

pub use root::new_root;
pub use stages::Stages;

portcullis_host::entry!(
    root = new_root,
    callbacks = [on_tick, on_http_call_response, on_request_headers, on_response_headers, on_log]
);
