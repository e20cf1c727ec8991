//! What failed at the start and is no error of it.

use crate::error::StartError;
use crate::vm_id::VmId;

/// A plugin that could not be set up on a thread although its canary could. Envoy leaves it out of that
/// thread's filter chains, whatever its failure policy says.
#[derive(Debug)]
pub struct StartFailure {
    /// The plugin, by its place in the chain.
    pub plugin: usize,
    /// Where.
    pub vm: VmId,
    /// Why.
    pub error: StartError,
}
