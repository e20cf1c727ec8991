//! A request on its way through the filter chain and back.

mod attributes;
mod reply;
mod stream;

pub(crate) use reply::{Reply, grpc_from_http};
pub(crate) use stream::{Dir, Link, Side, Slot, Stop, Stream, StreamRef};
pub use stream::{LocalReply, Seen};
