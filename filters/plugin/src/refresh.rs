//! Keys that the snapshot does not have yet.
//!
//! A token of a known issuer may name a key that was published a moment ago. The control service is then
//! asked to fetch the issuer's keys, and the request waits for a moment. Anybody can make such a token, so
//! an issuer is asked about rarely and few requests wait.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_core::KeyId;
use portcullis_core::snapshot::policy::IssuerDocument;
use portcullis_core::wire::KeyRefresh;
use portcullis_host::{CallResponse, CallToken, Host, LogLevel};
use prost::Message;

use crate::introspect::Caller;
use crate::link::Link;
use crate::poll::status;
use crate::waiting::HOLD_MS;

/// Time between two questions about an issuer.
const PAUSE_MS: u64 = 5_000;

/// Time in which the control service must answer.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Refresh {
    asked_ms: u64,
    call: Option<CallToken>,
    failed: bool,
}

/// When each issuer was asked about last.
#[derive(Debug, Default)]
pub(crate) struct Refreshes(HashMap<Box<str>, Refresh>);

impl Refreshes {
    /// Whether the last question about an issuer led nowhere.
    pub(crate) fn failed(&self, issuer: &str) -> bool {
        self.0.get(issuer).is_none_or(|refresh| refresh.failed)
    }
}

impl Link {
    /// Asks for an issuer's keys, unless that was done a moment ago; whether it makes sense to wait.
    pub(crate) fn refresh(
        &mut self,
        host: &dyn Host,
        caller: Caller,
        document: &IssuerDocument,
        key_id: &KeyId,
    ) -> bool {
        let issuer = document.issuer.as_str();
        if let Some(last) = self.refreshes.0.get(issuer) {
            let age = self.now_ms.saturating_sub(last.asked_ms);
            if age < PAUSE_MS {
                return !last.failed && age < HOLD_MS;
            }
        }
        let question =
            KeyRefresh { issuer: issuer.to_owned(), key_id: key_id.as_str().to_owned() }.encode_to_vec();
        let call = self.call_as_root(host, caller, "/mesh/v1/keys/refresh", &question, TIMEOUT);
        let failed = call.is_none();
        let snapshot = &self.snapshot;
        self.refreshes.0.retain(|issuer, _| snapshot.issuer(issuer).is_some());
        self.refreshes.0.insert(issuer.into(), Refresh { asked_ms: self.now_ms, call, failed });
        !failed
    }

    /// Takes the answer to a question; false when this is none.
    pub(crate) fn on_refresh(&mut self, host: &dyn Host, response: CallResponse) -> bool {
        let found = self.refreshes.0.iter_mut().find(|(_, refresh)| refresh.call == Some(response.token));
        let Some((issuer, refresh)) = found else { return false };
        refresh.call = None;
        match status(host, response) {
            // Another worker may have asked just now: its keys are on their way to us too.
            Some(204 | 429) => {}
            status => {
                refresh.failed = true;
                let what = status.map_or("no answer".to_owned(), |s| format!("status {s}"));
                host.log(LogLevel::Warn, &format!("new keys of {issuer}: {what}"));
            }
        }
        true
    }
}
