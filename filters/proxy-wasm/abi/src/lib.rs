//! The safe layer over the Proxy-Wasm ABI 0.2.1: bytes, typed errors, no panics.
//!
//! Everything else in the module sees the proxy through [`Host`]; nothing else calls a hostcall or
//! exports a callback. What this layer promises:
//!
//! - **No status of the host panics.** Each hostcall answers `Result<_, HostError>`; a status that
//!   the ABI does not know is [`HostErrorKind::Other`].
//! - **Bytes, not strings.** Header names and values are whatever the client sent.
//! - **Closed when in doubt.** A request whose context is unknown is answered with 503, never let
//!   through.
//!
//! A plugin implements [`RootContext`] and [`HttpContext`] and names its factory in [`entry!`].
//! In native unit tests the same code runs against [`FakeHost`](fake::FakeHost).

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

mod calls;
mod context;
mod dispatch;
mod entry;
mod error;
mod foreign;
mod host;
#[cfg(any(target_family = "wasm", test))]
mod memory;
mod pairs;
mod slots;
mod types;

#[cfg(target_family = "wasm")]
mod abi;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod exports;
#[cfg(not(target_family = "wasm"))]
pub mod fake;

pub use calls::{Calls, Proxy};
pub use context::{CallResponse, HttpContext, RootContext, RootFactory};
pub use dispatch::Dispatcher;
pub use error::{HostError, HostErrorKind, HostResult};
pub use foreign::{HashFunction, LifeSpan};
pub use host::{Block, Header, Host, HttpCall, LocalResponse, SharedValue};
pub use types::{
    Action, BufferType, CallToken, Cas, ContextId, LogLevel, MapType, MetricId, MetricType, QueueId,
};
