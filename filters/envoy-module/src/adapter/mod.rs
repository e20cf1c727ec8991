//! The engine in Envoy: its ports in the words of [`crate::abi`].
//!
//! A filter's name in Envoy is the root id. What may be shared by the workers of a process is: the snapshot
//! and its poll. Caches, questions under way, the journal and the ways to wake requests are one per worker, so
//! that no worker waits for another. The main thread sends what workers ask, delivers what they recorded, and
//! wakes what they hold.

mod config;
mod crypto;
mod filter;
mod home;
mod machine;
mod metrics;
mod port;
mod process;
mod shared;

pub use config::{new_config, new_config_of};
#[cfg(feature = "testing")]
pub(crate) use home::Homes;
