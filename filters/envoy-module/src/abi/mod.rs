//! The layer over Envoy's C interface for dynamic modules, version `v0.2.0` (Envoy 1.40).
//!
//! Three threads matter. Envoy's *main thread* makes and ends configurations and runs everything
//! that has a [`MainHandle`]: ticks, wakes and answers to callouts. Each *worker* runs the streams
//! that it accepted, one hook at a time. A *ticker*, one small thread for each configuration that
//! wants ticks, does nothing but wake the main thread.

mod answer;
mod bytes;
mod catch;
mod config;
mod error;
mod events;
#[doc(hidden)]
pub mod exports;
mod filter;
mod headers;
mod host;
mod knowledge;
mod log;
mod main_thread;
mod metrics;
mod raw;
mod reply;
mod scheduler;
mod setup;
mod stream;
mod ticker;
mod types;

pub use answer::{Answer, CalloutFailure, CalloutId};
pub use catch::panics;
pub use error::{AbiError, AbiResult, HostErrorKind};
pub use events::{BodyAction, ConfigEvents, ConfigFactory, FilterEvents, HeadersAction, TrailersAction};
pub use log::{log, log_enabled};
pub use main_thread::{Callout, MainHandle};
pub use metrics::{Counter, Gauge, Histogram};
pub use reply::LocalReply;
pub use scheduler::StreamWaker;
pub use setup::Setup;
pub use stream::StreamHandle;
pub use types::{Attribute, BodyKind, HeaderMap, Hook, LogLevel};
