//! A request on its way through the filter chain and back.

mod attributes;
mod call;
mod deliver;
mod reply;
mod stream;

pub(crate) use deliver::Item;
pub(crate) use reply::{Reply, grpc_from_http};
pub(crate) use stream::{Dir, Link, Slot, Stream, StreamRef};
pub use stream::{LocalReply, Seen};
