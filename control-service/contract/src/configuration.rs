//! What a service uses of its configuration.

pub use portcullis_control_domain::configuration::{Difference, Effect, RunningConfiguration};
