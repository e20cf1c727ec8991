//! The engine as an Envoy dynamic module; `so` makes `libportcullis.so` of it.
//!
//! A filter's name in Envoy picks the stages ([`portcullis_roots`]). `adapter` translates between the
//! engine's ports and Envoy, and decides nothing. [`abi`] is the layer over Envoy's C interface: the
//! only place that speaks to Envoy, and the only one with `unsafe` code. What it promises:
//!
//! - **Bytes, not strings.** Header names and values are whatever the client sent.
//! - **Typed errors, no panics.** Every pointer and length that Envoy hands over is checked.
//! - **Closed when in doubt.** A panic is caught where Envoy calls: that request is refused with
//!   503, the panic is counted, and Envoy lives on.
//! - **Not in a wrong Envoy.** The module refuses to load where the interface is not a known one.
//!
//! A module implements [`ConfigEvents`](abi::ConfigEvents) and
//! [`FilterEvents`](abi::FilterEvents) and names its factory in [`module!`].

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

mod adapter;
mod macros;
#[cfg(feature = "testing")]
pub mod testing;

#[allow(unsafe_code, reason = "Envoy's C interface is raw pointers; nothing above this module sees one")]
pub mod abi;

pub use adapter::{new_config, new_config_of};
