//! This layer in the real Envoy: every capability, with one worker or two.
//!
//! Envoy has to be installed (`make tools`); where it is missing these tests fail.

mod capabilities;
mod config;
mod endings;
mod envoy;
mod http;
mod main_thread;
mod panics;
mod wrong_envoy;
