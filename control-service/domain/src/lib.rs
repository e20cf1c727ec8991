//! What the control service speaks of, and the rules of it: clusters, keys, clients, revocations, the audit log.
//!
//! Nothing here knows a database or HTTP: a rule takes what is there and the time, and says what comes of it. The
//! store writes that down, whichever database it has. Beside the rules stand the few tools that all parts share:
//! clock, randomness, secrets, tokens, text files.

pub mod administrator;
pub mod api_key;
pub mod audit;
pub mod backup;
pub mod caller;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod configuration;
pub mod enrolment;
pub mod histogram;
pub mod hold;
pub mod issuer;
pub mod limits;
mod listed;
pub mod log_throttle;
mod made;
pub mod outage_log;
pub mod pause;
pub mod random;
pub mod recovery;
mod refused;
pub mod retry;
pub mod revocation;
pub mod rollout;
pub mod schema;
pub mod sealing;
pub mod secret;
pub mod signal;
pub mod signing;
mod text_enum;
pub mod text_file;
pub mod tokens;
pub mod wanted;

pub use listed::Listed;
pub use refused::Refused;
