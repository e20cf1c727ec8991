//! Enrolment of data clusters: join tokens and certificates as operators see them, and the calls of the agents' listener.
//!
//! An agent talks TLS 1.3 to that listener. Before it has joined, it knows the service by the pin in its join token: it
//! takes the certificate of the presented chain whose SubjectPublicKeyInfo has that digest as its trust anchor, and
//! verifies the chain by it. Afterwards it trusts the bundle of its configuration, and nothing else.
//!
//! | call | proves itself by |
//! |---|---|
//! | `POST /v1/agent/join` | `Authorization: Bearer pcj_…` |
//! | `POST /v1/agent/certificate`, `POST /v1/agent/heartbeat`, `GET /v1/agent/configuration` | the certificate |
//!
//! Refusals are [`ProblemDocument`](crate::ProblemDocument)s with a stable `reason`:
//!
//! | status | reasons |
//! |---|---|
//! | 400 | `body_invalid`, `parameter_invalid`, `request_invalid` (the CSR: it cannot be read, its signature is wrong, its key is of another kind, or it asks for another name) |
//! | 401 | `join_token_invalid` (there is no such token, or it was mistyped), `certificate_missing`, `certificate_invalid` (not known here: join again), `certificate_revoked` |
//! | 410 | `join_token_ended` (expired or revoked), `join_token_used` (by another key, or too long ago), `cluster_retired` |
//! | 408, 413, 415 | `body_too_slow`, `body_too_large` (16 KiB), `media_type_unsupported` |
//! | 429 | `too_many_refusals`, with `Retry-After`; `certificates_many`: renewed far too often |
//! | 503 | `authority_failed`, `store_unavailable`, `replica_behind`, `store_recovering`, with `Retry-After` |

pub use portcullis_control_domain::enrolment::{
    IssuedCertificate, IssuedFor, JoinSecret, JoinToken, RootPin,
};
use portcullis_control_domain::enrolment::{JOIN_TOKEN_S, MAX_JOIN_TOKEN_S, MAX_REQUEST_BYTES};
use portcullis_control_domain::schema;
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::policy::Jwks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clusters::check_version;
use crate::{Invalid, ShownOnce};

/// `POST` on the agents' listener: joins.
pub const JOIN: &str = "/v1/agent/join";
/// `POST` on the agents' listener: a new certificate in the place of the one by which it is asked for.
pub const CERTIFICATE: &str = "/v1/agent/certificate";
/// `POST` on the agents' listener: [`HeartbeatRequest`](crate::clusters::HeartbeatRequest), and
/// [`HeartbeatResponse`](crate::clusters::HeartbeatResponse).
pub const HEARTBEAT: &str = "/v1/agent/heartbeat";
/// `GET` on the agents' listener: [`AgentConfiguration`] with an `ETag`; 304 where `If-None-Match` has it, after `wait`.
pub const CONFIGURATION: &str = "/v1/agent/configuration";

/// Makes a join token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JoinTokenCreation {
    /// Seconds for which it is good; an hour unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_JOIN_TOKEN_S))]
    pub expires_in_s: Option<u64>,
}

impl JoinTokenCreation {
    /// For how many seconds it is to be good.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<u64, Invalid> {
        match self.expires_in_s.unwrap_or(JOIN_TOKEN_S) {
            s @ 1..=MAX_JOIN_TOKEN_S => Ok(s),
            _ => Err(Invalid("expires_in_s: must be from 1 second to 7 days")),
        }
    }
}

/// A new join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinTokenCreated {
    /// What is known of it.
    pub join_token: JoinToken,
    /// The token itself: a [`JoinSecret`].
    pub token: ShownOnce,
}

/// The join tokens of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinTokenList {
    /// The tokens, in the order of their ids.
    pub join_tokens: Vec<JoinToken>,
    /// Where to go on.
    pub next: Option<String>,
}

/// The certificates of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateList {
    /// The certificates, in the order of their serial numbers.
    pub certificates: Vec<IssuedCertificate>,
    /// Where to go on.
    pub next: Option<String>,
}

/// Revokes certificates of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateRevocation {
    /// The serial number of the only one that is meant; all of them unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub serial: Option<String>,
}

impl CertificateRevocation {
    /// The serial number, if one is meant.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<Option<String>, Invalid> {
        let sound = |s: &String| s.len() == 32 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if self.serial.as_ref().is_none_or(sound) {
            Ok(self.serial)
        } else {
            Err(Invalid("serial: must be 32 hexadecimal digits in lower case"))
        }
    }
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificatesRevoked {
    /// The certificates that are good no more by this call.
    pub certificates: Vec<IssuedCertificate>,
}

/// Asks for a certificate, by a join token or by the certificate that it takes the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// A certificate signing request (RFC 2986) in PEM, of a P-256 key. Its public key alone is taken over. It is refused
    /// if it asks for a subject alternative name that is not the cluster's id.
    #[schemars(length(min = 1, max = MAX_REQUEST_BYTES))]
    pub csr: String,
    /// The version that the agent runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::ReportedVersion>")]
    pub version: Option<String>,
}

impl CertificateRequest {
    /// Whether it is of a size and a form that is looked at.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<Self, Invalid> {
        if !(1..=MAX_REQUEST_BYTES).contains(&self.csr.len()) {
            return Err(Invalid("csr: must have 1 to 8192 bytes"));
        }
        check_version(self.version.as_deref())?;
        Ok(self)
    }
}

/// A certificate that was issued to an agent, and what it has to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateIssued {
    /// The cluster that the certificate names: its only subject alternative name, a DNS name.
    #[schemars(with = "schema::ClusterId")]
    pub cluster: ClusterId,
    /// Whose that is.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// The certificate, and those between it and a root of the trust bundle, in PEM.
    pub certificate: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Until when it is good, milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// From when on it is to be replaced, milliseconds since the Unix epoch: another moment for each certificate, so that
    /// agents do not come all at once.
    pub renew_after_ms: u64,
    /// What an agent has to know.
    pub configuration: AgentConfiguration,
}

/// How long the configuration is waited for, where the agent has the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationQuery {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 60))]
    pub wait: Option<u64>,
}

impl ConfigurationQuery {
    /// Seconds to wait.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<u64, Invalid> {
        match self.wait.unwrap_or(0) {
            s @ 0..=60 => Ok(s),
            _ => Err(Invalid("wait: must be from 0 to 60 seconds")),
        }
    }
}

/// What an agent has to know. A member that an agent does not know means nothing to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentConfiguration {
    /// The roots that the agent trusts: of this listener, and of where tunnels end; PEM.
    pub trust_bundle: String,
    /// What identity tokens are verified by.
    pub identity: IdentityTrust,
    /// Where the tunnel goes; none where the platform has no tunnels of this kind.
    #[serde(default)]
    pub tunnel: Option<TunnelConfiguration>,
    /// The public key of snapshot pages (Ed25519), as `snapshot.key` of a `pluginConfig` has it.
    pub snapshot_key: String,
    /// Seconds between two heartbeats.
    pub heartbeat_interval_s: u64,
    /// Certificates that were issued before then are to be replaced at once, milliseconds since the Unix epoch.
    #[serde(default)]
    pub renew_issued_before_ms: Option<u64>,
}

/// What identity tokens are verified by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityTrust {
    /// Their `iss`.
    pub issuer: String,
    /// The key set (RFC 7517), for the Data API.
    #[schemars(with = "schema::KeySet")]
    pub keys: Jwks,
}

/// Where the tunnel goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum TunnelConfiguration {
    /// Reverse tunnels of Envoy. Node id and cluster id of the handshake are both the cluster's.
    ReverseTunnel {
        /// Host and port that the agent dials.
        address: String,
        /// The name that the tunnel gateway proves by its certificate, also the server name of the handshake.
        server_name: String,
        /// Connections that the agent keeps at least.
        connections: u32,
    },
}

/// What tunnel gateways verify agents by: `GET /mesh/v1/tunnel/trust?after=&wait=` of the mesh API, which proves itself and
/// is asked as for everything there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TunnelTrust {
    /// The roots of agents' certificates, in PEM.
    pub trust_bundle: String,
    /// The certificates that are good no more (RFC 5280 §5), in PEM.
    pub revocation_list: String,
    /// Goes into `after`: the answer waits for another one.
    pub number: u64,
}

/// Where the trust is asked for at the mesh API.
pub const TUNNEL_TRUST: &str = "/mesh/v1/tunnel/trust";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        let life = |expires_in_s| JoinTokenCreation { expires_in_s }.check().is_ok();
        assert!(life(None) && life(Some(1)) && life(Some(MAX_JOIN_TOKEN_S)));
        assert!(!life(Some(0)) && !life(Some(MAX_JOIN_TOKEN_S + 1)));
        let request = |csr: usize, version: &str| {
            let version = Some(version.to_owned());
            CertificateRequest { csr: "x".repeat(csr), version }.check().is_ok()
        };
        assert!(request(1, "1.0") && request(8192, "1"));
        assert!(!request(0, "1") && !request(8193, "1") && !request(1, "") && !request(1, "a b"));
        let serial = |s: &str| CertificateRevocation { serial: Some(s.to_owned()) }.check().is_ok();
        assert!(serial(&"0a".repeat(16)) && CertificateRevocation::default().check() == Ok(None));
        assert!(!serial("") && !serial(&"0A".repeat(16)) && !serial(&"0a".repeat(17)));
        let wait = |wait| ConfigurationQuery { wait }.check().is_ok();
        assert!(wait(None) && wait(Some(60)) && !wait(Some(61)));
    }

    #[test]
    fn a_tunnel_says_of_which_kind_it_is() {
        let tunnel = TunnelConfiguration::ReverseTunnel {
            address: "tunnels.example.com:443".to_owned(),
            server_name: "tunnels.example.com".to_owned(),
            connections: 2,
        };
        let written = serde_json::to_value(&tunnel).unwrap();
        assert_eq!(written["provider"], "reverse_tunnel");
        assert_eq!(serde_json::from_value::<TunnelConfiguration>(written).unwrap(), tunnel);
    }
}
