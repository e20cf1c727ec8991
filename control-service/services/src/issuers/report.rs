//! How issuers are doing, as it is told.

use portcullis_control_config::IssuerConfig;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::issuer::{IssuerReport, LeftOutKey};

use super::Issuers;
use super::document::{CurrentKeys, all_left_out, own_report, report};
use super::told::as_of;

impl Issuers {
    /// How all issuers are doing, in the order of the configuration: that of the leader, which fetches their keys.
    pub async fn report(&self) -> Vec<IssuerReport> {
        match self.heard().await {
            Some(word) => as_of(word.issuers, now_ms()),
            None => self.own_report().await,
        }
    }

    /// The keys of all issuers that are not used, in the order of the configuration.
    pub async fn left_out(&self) -> Vec<LeftOutKey> {
        match self.heard().await {
            Some(word) => word.left_out,
            None => self.own_left_out().await,
        }
    }

    pub(super) async fn own_report(&self) -> Vec<IssuerReport> {
        let known = self.known.lock().await;
        let now = now_ms();
        let configured = known.policy.iter().flat_map(|p| &p.issuers).map(|issuer| {
            let health = known.watches.get(issuer.issuer.as_str()).map(|w| w.health.get());
            report(issuer, &CurrentKeys::of(issuer, &known.keys, now).set, health.as_ref(), now)
        });
        configured.chain(known.own.iter().map(own_report)).collect()
    }

    pub(super) async fn own_left_out(&self) -> Vec<LeftOutKey> {
        let known = self.known.lock().await;
        let now = now_ms();
        let of = |issuer: &IssuerConfig| {
            let health = known.watches.get(issuer.issuer.as_str()).map(|w| w.health.get());
            let unread = health.map(|health| health.unread).unwrap_or_default();
            let left_out = all_left_out(unread, CurrentKeys::of(issuer, &known.keys, now).set.left_out);
            let name = issuer.issuer.to_string();
            left_out.into_iter().map(move |left| LeftOutKey {
                issuer: name.clone(),
                kid: left.kid.as_ref().map(ToString::to_string),
                reason: left.why.to_string(),
            })
        };
        known.policy.iter().flat_map(|policy| &policy.issuers).flat_map(of).collect()
    }
}
