//! The ids of the sample clusters.

use portcullis_identity::ClusterId;

use crate::error::{MeshError, Result};

pub(super) fn cluster_id(name: &str) -> Result<ClusterId> {
    ClusterId::new(name)
        .map_err(|error| MeshError::Token { what: format!("cluster id {name}"), reason: error.to_string() })
}
