//! What an agent remembers beside its certificate.

use portcullis_control_contract::agents::{AgentConfiguration, CertificateIssued};
use portcullis_identity::ids::{ClusterId, TenantId};
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, FolderError, OwnFolder};

/// What the platform last told.
const CONFIGURATION: &str = "configuration.json";

/// How a certificate was issued, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The platform's address, `https://HOST:PORT`.
    pub server: String,
    /// The public id of the join token by which the agent joined.
    pub token: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The certificate's serial number.
    pub serial: String,
    /// When it came, milliseconds since the Unix epoch.
    pub issued_at_ms: u64,
    /// Until when it is good, milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// From when on it is to be replaced, milliseconds since the Unix epoch.
    pub renew_after_ms: u64,
}

impl Issued {
    /// What is remembered of an answer.
    #[must_use]
    pub fn of(answer: &CertificateIssued, server: &str, token: &str, now_ms: u64) -> Self {
        Self {
            server: server.to_owned(),
            token: token.to_owned(),
            cluster: answer.cluster.clone(),
            tenant: answer.tenant.clone(),
            serial: answer.serial.clone(),
            issued_at_ms: now_ms,
            not_after_ms: answer.not_after_ms,
            renew_after_ms: answer.renew_after_ms,
        }
    }
}

impl Folder {
    /// What the platform last told.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn configuration(&self) -> Result<Option<AgentConfiguration>, FolderError> {
        self.read_json(CONFIGURATION)
    }
}

impl OwnFolder {
    /// Remembers what the platform told.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn remember_configuration(&self, configuration: &AgentConfiguration) -> Result<(), FolderError> {
        self.write_json(CONFIGURATION, configuration)
    }
}
