//! Plays Envoy towards the native module, in the process of a test.
//!
//! The chain, the clock, the callouts and the upstream are the test host's, as for the Wasm module. This
//! crate speaks Envoy's interface for dynamic modules: it calls the module's hooks, and offers the callbacks
//! that Envoy would. Everything happens on the test's thread, in an order that only the test decides:
//!
//! - **Ticks** come from the host's clock. The module is told that Envoy only validates, which keeps it from
//!   starting the thread that ticks in a real one; it asks for nothing else by that.
//! - **Clocks, randomness and the environment** are the host's, by the module's feature `testing`.
//! - **What a process shares** (the snapshot, the workers' state) is one [`Process`]'s, so that two hosts in
//!   one test share nothing.

#[allow(unsafe_code, reason = "Envoy's C interface is raw pointers")]
mod callbacks;
#[allow(unsafe_code, reason = "the module's hooks take what Envoy hands them: raw pointers")]
mod filter;
mod objects;
mod process;
#[allow(unsafe_code, reason = "reads what the module hands over by pointer and length")]
mod raw;

pub use filter::Filter;
pub use process::Process;
