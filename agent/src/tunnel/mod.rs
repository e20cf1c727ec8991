//! The tunnel: an Envoy that dials the platform, set up by the agent, and run by it or beside it.

mod admin;
mod bootstrap;
mod child;
mod forward;

pub use admin::{connected, quit, reopen};
pub use bootstrap::{
    BOOTSTRAP, HostPort, NotHostPort, TUNNEL, Target, TunnelError, Wiring, bootstrap, write,
};
pub use child::Child;
pub(crate) use forward::forward;
