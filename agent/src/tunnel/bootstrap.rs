//! The bootstrap of the tunnel's Envoy, and the files that it watches.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use portcullis_control_contract::agents::TunnelConfiguration;
use serde_json::{Value, json};

use crate::accesses;
use crate::credential::{AUTHORITIES, CERTIFICATE, CHAIN, KEY};
use crate::folder::{self, FolderError, OwnFolder};

/// The folder of the files, below the agent's.
pub const TUNNEL: &str = "tunnel";
/// The bootstrap.
pub const BOOTSTRAP: &str = "envoy.json";
/// What of it does not depend on where it runs.
const TEMPLATE: &str = include_str!("envoy.yaml");

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// It is not HOST:PORT.
#[derive(Debug, thiserror::Error)]
#[error("must be HOST:PORT")]
pub struct NotHostPort;

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotHostPort)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(NotHostPort)?;
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let sound = !host.is_empty() && host.len() <= 253 && host.chars().all(sound);
        if sound { Ok(Self { host: host.to_owned(), port }) } else { Err(NotHostPort) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::connect::authority(&self.host, self.port))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// What the tunnel leads to, and where its parts listen; all of it on this machine or in this pod.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// The Data API.
    pub data_api: HostPort,
    /// Envoy's admin page.
    pub admin: SocketAddr,
    /// Where Envoy finds the way through the HTTP proxy, if there is one.
    pub forward: SocketAddr,
}

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What the platform told.
    #[error(
        "the platform told where the tunnel goes in a way that this agent does not understand ({0}): take a newer agent"
    )]
    Address(String),
    /// The template.
    #[error("the bootstrap of the tunnel's Envoy cannot be made: {0}")]
    Template(String),
    /// A child or a port.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Envoy ended.
    #[error("Envoy ended ({0}); it is started again")]
    Ended(String),
    /// Envoy has no tunnel.
    #[error("Envoy has no tunnel to the platform yet")]
    NoTunnel,
    /// Envoy is not there.
    #[error("Envoy does not answer at {0}")]
    NoEnvoy(SocketAddr),
}

/// Where a tunnel goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What is dialled.
    pub address: HostPort,
    /// The name that the other end proves.
    pub server_name: String,
    /// How many connections are kept.
    pub connections: u32,
}

impl Target {
    /// What the platform told.
    ///
    /// # Errors
    /// [`TunnelError::Address`].
    pub fn of(told: &TunnelConfiguration) -> Result<Self, TunnelError> {
        let TunnelConfiguration::ReverseTunnel { address, server_name, connections } = told;
        let address = address.parse().map_err(|_| TunnelError::Address(address.clone()))?;
        Ok(Self { address, server_name: server_name.clone(), connections: (*connections).clamp(1, 64) })
    }
}

/// The bootstrap of the Envoy of a cluster: certificates and authorities are those of the agent's folder.
///
/// # Errors
/// [`TunnelError::Template`].
pub fn bootstrap(
    folder: &folder::Folder,
    cluster: &str,
    target: &Target,
    wiring: &Wiring,
    by_proxy: bool,
) -> Result<Value, TunnelError> {
    let template = |error: &dyn fmt::Display| TunnelError::Template(error.to_string());
    let mut bootstrap: Value = serde_norway::from_str(TEMPLATE).map_err(|error| template(&error))?;
    let dialled = if by_proxy { wiring.forward.into() } else { target.address.clone() };
    let named = |name: &str| Value::from(folder.file(TUNNEL).join(name).to_string_lossy());
    let tls = "/static_resources/clusters/0/transport_socket/typed_config";
    let context = format!("{tls}/common_tls_context");
    let combined = format!("{context}/combined_validation_context");
    let claimed = format!("rc://{cluster}:{cluster}:{cluster}@platform:{}", target.connections);
    let endpoint = |of: &str| {
        format!("/static_resources/clusters/{of}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address")
    };
    let filter = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let values = [
        ("/admin/address".to_owned(), socket(&wiring.admin.into())),
        ("/static_resources/listeners/0/address/socket_address/address".to_owned(), claimed.into()),
        (format!("{filter}/access_log/0/typed_config/path"), accesses::log(folder).to_string_lossy().into()),
        (endpoint("0"), socket(&dialled)),
        (endpoint("1"), socket(&wiring.data_api)),
        (format!("{tls}/sni"), target.server_name.as_str().into()),
        (
            format!("{combined}/default_validation_context/match_typed_subject_alt_names/0/matcher/exact"),
            target.server_name.as_str().into(),
        ),
        (
            format!("{context}/tls_certificate_sds_secret_configs/0/sds_config/path_config_source/path"),
            named("certificate.json"),
        ),
        (
            format!("{combined}/validation_context_sds_secret_config/sds_config/path_config_source/path"),
            named("authority.json"),
        ),
    ];
    for (pointer, value) in values {
        let place = bootstrap.pointer_mut(&pointer).filter(|place| place.is_null());
        *place.ok_or_else(|| template(&pointer))? = value;
    }
    // The platform knows the tunnel by these two, which must be the name in the certificate.
    bootstrap["node"] = json!({"id": cluster, "cluster": cluster});
    Ok(bootstrap)
}

fn socket(at: &HostPort) -> Value {
    json!({"socket_address": {"address": at.host, "port_value": at.port}})
}

/// What Envoy reads of the certificate, and when: each time that a link in its folder is put in the place of another.
fn secrets(folder: &folder::Folder) -> [(&'static str, Value); 2] {
    let at = folder.file(CERTIFICATE);
    let file = |name: &str| json!({"filename": at.join(name).to_string_lossy()});
    let watched = json!({"path": at.to_string_lossy()});
    let secret = |fields: Value| {
        let mut secret =
            json!({"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"});
        if let (Some(secret), Value::Object(fields)) = (secret.as_object_mut(), fields) {
            secret.extend(fields);
        }
        json!({"resources": [secret]})
    };
    let certificate = json!({"name": "certificate", "tls_certificate": {
        "certificate_chain": file(CHAIN), "private_key": file(KEY), "watched_directory": watched}});
    let authority = json!({"name": "authority", "validation_context": {
        "trusted_ca": file(AUTHORITIES), "watched_directory": watched}});
    [("certificate.json", secret(certificate)), ("authority.json", secret(authority))]
}

/// Writes all that Envoy reads; says whether the bootstrap is another one than before.
///
/// # Errors
/// [`TunnelError`].
pub fn write(
    folder: &OwnFolder,
    cluster: &str,
    target: &Target,
    wiring: &Wiring,
    by_proxy: bool,
) -> Result<bool, TunnelError> {
    let bootstrap = bootstrap(folder, cluster, target, wiring, by_proxy)?;
    folder::make_private(&folder.file(TUNNEL))?;
    for (name, secret) in secrets(folder) {
        let name = format!("{TUNNEL}/{name}");
        if folder.read_json::<Value>(&name)?.as_ref() != Some(&secret) {
            folder.write_json(&name, &secret)?;
        }
    }
    let name = format!("{TUNNEL}/{BOOTSTRAP}");
    let is_new = folder.read_json::<Value>(&name).ok().flatten().as_ref() != Some(&bootstrap);
    if is_new {
        folder.write_json(&name, &bootstrap)?;
    }
    Ok(is_new)
}
