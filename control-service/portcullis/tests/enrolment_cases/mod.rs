//! An agent as a data cluster has it: its key, its certificate, and the listener that it knows by a pin.

pub(crate) mod agent;
mod program;
