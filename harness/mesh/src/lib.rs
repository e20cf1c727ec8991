//! The local mesh: real istiod, real Envoys, the control service and tunnels on one machine.
//!
//! [`Mesh::start`] runs everything in a loopback block of its own, from `istio-manifests/overlays/local`.

pub mod access_log;
pub mod block;
pub mod bootstrap;
mod cluster_policies;
pub mod control;
pub mod data_api;
mod error;
pub mod http;
pub mod idp;
pub mod istiod;
pub mod kubernetes;
mod mesh;
pub mod overlay;
pub mod paths;
pub mod pki;
pub mod policy;
mod port;
pub mod postgres;
pub mod process;
pub mod render;
mod sample;
pub mod scenario;
pub mod sds;
pub mod target;
pub mod tls;
pub mod tools;
pub mod wait;

pub use error::{MeshError, Result};
pub use mesh::{Impostor, Mesh, Options};
pub use sample::{
    CLIENT_AGENTS, CLIENT_PEOPLE, CLIENT_WORKERS, FOREIGN, HOSTED, OFFLINE, ONPREM, SILENT, TENANT,
};
pub use target::Target;
