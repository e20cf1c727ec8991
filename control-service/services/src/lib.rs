//! What the control service does beside answering calls: it fetches issuers' keys, asks providers of opaque tokens,
//! knows which cluster was heard of, changes signing keys, gives out service tokens.
//!
//! Each service stands on the store and on the configuration, and is asked by handlers and commands alike. None knows
//! who calls it by which protocol.

pub mod authority;
pub mod causes;
mod current;
pub mod enrolment;
pub mod introspection;
pub mod issuers;
pub mod judge;
pub mod metrics;
pub mod oauth;
mod outbound;
pub mod people;
pub mod presence;
pub mod replicas;
pub mod rollout;
pub mod shares;
pub mod signing;
pub mod standing;
pub mod watchers;

pub use current::Current;
