#![doc = include_str!("../README.md")]

mod abi;
mod assertions;
mod cargo;
mod codes;
mod error;
mod exchange;
mod exports;
mod flow;
pub mod fuzz;
mod headers;
mod host;
mod message;
mod module;
pub mod native;
mod pairs;
mod plugin;
mod profile;
mod property;
mod spec;
mod state;
mod upstream;
mod vm;
mod vm_id;
mod world;

pub use codes::{BufferKind, Callback, LogLevel, MapKind, MetricKind, Status};
pub use error::{FailureKind, LoadError, StartError, VmFailure};
pub use exchange::Exchange;
pub use flow::{LocalReply, Seen};
pub use headers::HeaderMap;
pub use host::{Host, HostBuilder, StartFailure, VmReport};
pub use message::{Answer, Request};
pub use module::{AbiVersion, Module};
pub use plugin::Plugin;
pub use profile::FunctionFuel;
pub use property::{PropertyPath, Value};
pub use spec::FailurePolicy;
pub use upstream::Upstream;
pub use vm::FuelUse;
pub use vm_id::VmId;
pub use world::{
    Call, CallKind, CallState, Fault, Hostcall, Limits, LogLine, Metric, Metrics, Misuse, Trace,
};
