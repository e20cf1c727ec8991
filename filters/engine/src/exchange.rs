//! A request as the plugins of one module share it, from its first plugin to its answer.

pub mod answer;
pub(crate) mod registry;
pub mod request_state;
