//! A stand-in for the mesh API of the control service: the same questions, answered from memory.
//!
//! [`MeshApi::answer`] goes from a request to its answer and knows neither sockets nor clocks. A long poll
//! without news is answered by [`Answer::Wait`]; whoever serves it waits and asks again. So one stand-in
//! serves the filter tests, where a test moves the time, and the benchmarks, where it listens on a port.
//!
//! It keeps to what the control service says: signed pages, full resyncs in the order of the keys, deltas,
//! and views that hide from a sidecar what is for gateways alone.

mod api;
mod ask;
pub mod fixtures;
mod questions;
mod store;

pub use api::MeshApi;
pub use ask::{Answer, Ask};
pub use questions::{Provider, Questions};
pub use store::{PAGE_BYTES, Poll, Store};
