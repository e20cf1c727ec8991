//! What the service itself records.

use portcullis_protocol::wire::AuditRecord;

use super::recorded_caller::RecordedCaller;
use super::sender::{CONTROL_HOP, CONTROL_PROXY};
use crate::caller::{Caller, Permission, Reach, Role};
use crate::clock::now_ms;

/// Who did what by the platform API: what the audit log gets of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who.
    pub by: RecordedCaller,
    /// By which role; none where none counts, and then nothing that belongs to somebody can be changed.
    pub role: Option<Role>,
    /// HTTP method.
    pub method: String,
    /// Path without its query.
    pub path: String,
    /// Request id.
    pub request_id: String,
    /// Address of the caller.
    pub client_address: String,
}

impl AuditEvent {
    /// The same, by this caller.
    #[must_use]
    pub fn by(self, caller: &Caller) -> Self {
        Self { by: caller.into(), role: Some(caller.role.clone()), ..self }
    }

    /// What its caller can touch.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.role.as_ref().map(Role::reach).unwrap_or_default()
    }

    /// Whether its caller may do this, within its reach.
    #[must_use]
    pub fn may(&self, what: Permission) -> bool {
        self.role.as_ref().is_some_and(|role| role.may(what))
    }

    /// The record of this action, without stream and sequence.
    #[must_use]
    pub fn record(&self, status: u16, reason: &str) -> AuditRecord {
        AuditRecord {
            time_ms: now_ms(),
            proxy: CONTROL_PROXY.to_owned(),
            request_id: self.request_id.clone(),
            decision: if status < 400 { "allow" } else { "refuse" }.to_owned(),
            stage: "platform-api".to_owned(),
            reason: reason.to_owned(),
            status: status.into(),
            role: self.role.as_ref().map(|role| role.name().as_str()).unwrap_or_default().to_owned(),
            method: self.method.clone(),
            path: self.path.clone(),
            client_address: self.client_address.clone(),
            mode: "enforce".to_owned(),
            hop: CONTROL_HOP.to_owned(),
            ..self.by.record()
        }
    }

    /// The record of an action that is done, with the name of the thing behind the path: so a store that was restored from
    /// a backup can be told what was done since.
    #[must_use]
    pub fn record_of(&self, status: u16, name: &str) -> AuditRecord {
        let mut record = self.record(status, "");
        record.path = [record.path.as_str(), "/", name].concat();
        record
    }

    /// What somebody does on the service's machine.
    #[must_use]
    pub fn on_the_machine(by: RecordedCaller, path: impl Into<String>) -> Self {
        Self { by, method: "CLI".to_owned(), path: path.into(), ..Self::default() }
    }
}
