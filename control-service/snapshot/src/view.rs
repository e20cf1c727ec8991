//! Which part of the snapshot a reader gets.

use std::fmt;
use std::str::FromStr;

use portcullis_identity::ids::ClusterId;

/// Which part of the snapshot a reader gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum View {
    /// Everything, the signing key of identity tokens included.
    Gateway,
    /// What a sidecar of this cluster needs: issuers, public identity keys, its own cluster.
    Public(ClusterId),
}

/// The text names no view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("view {0:?} is not known; write gateway or public:<cluster id>")]
pub struct UnknownView(String);

impl FromStr for View {
    type Err = UnknownView;
    fn from_str(text: &str) -> Result<Self, UnknownView> {
        let unknown = || UnknownView(text.chars().take(80).collect());
        match text.split_once(':') {
            None if text == "gateway" => Ok(Self::Gateway),
            Some(("public", id)) => ClusterId::new(id).map(Self::Public).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Public(cluster) => write!(f, "public:{cluster}"),
        }
    }
}
