//! The same cases through this host and through a real Envoy.

pub(crate) mod case;
pub(crate) mod cases;
pub(crate) mod here;
pub(crate) mod process;
pub(crate) mod wire;
