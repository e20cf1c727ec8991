//! Credentials, clusters and headers that are refused, each with a reason of its own.

use serde_json::json;

use super::callers::DOMAIN;
use super::{Expect, SELECTOR, Scenario};
use crate::error::Result;
use crate::idp::{Algorithm, Idp, claims, now_s};
use crate::sample::{CLIENT_PEOPLE, FOREIGN, HOSTED, OFFLINE, ONPREM, SILENT, TENANT};

impl Scenario<'_> {
    pub(super) async fn credentials(&mut self) -> Result<()> {
        let people = |extra| self.token("ann@acme.example", CLIENT_PEOPLE, Algorithm::Es256, &extra);
        let good = self.human()?;
        let stranger = Idp::new()?.sign(
            Algorithm::Es256,
            &claims("ann@acme.example", TENANT, &json!({"client_id": CLIENT_PEOPLE})),
        )?;
        let refused = Expect::Refused;
        let rows = [
            ("nobody", "no credential", self.to(HOSTED), refused(401, "credential_missing")),
            (
                "person",
                "expired token",
                self.to(HOSTED).bearer(&people(json!({"exp": now_s() - 600, "iat": now_s() - 900}))?),
                refused(401, "token_expired"),
            ),
            (
                "person",
                "token for another audience",
                self.to(HOSTED).bearer(&people(json!({"aud": "https://elsewhere.example"}))?),
                refused(401, "audience_mismatch"),
            ),
            (
                "person",
                "token of another issuer",
                self.to(HOSTED).bearer(&people(json!({"iss": "https://elsewhere.example/"}))?),
                refused(401, "issuer_unknown"),
            ),
            (
                "forger",
                "token signed with another key",
                self.to(HOSTED).bearer(&stranger),
                refused(401, "signature_invalid"),
            ),
            (
                "stranger",
                "client that no source rule knows",
                self.to(HOSTED).bearer(&self.token("eve", "unknown-client", Algorithm::Es256, &json!({}))?),
                refused(403, "source_type_unknown"),
            ),
            (
                "worker",
                "API key that does not exist",
                self.to(HOSTED).header("x-api-key", tampered(&self.key.key)),
                refused(401, "api_key_unknown"),
            ),
            (
                "person",
                "token and API key together",
                self.to(HOSTED).bearer(&good).header("x-api-key", &self.key.key),
                refused(400, "credential_ambiguous"),
            ),
            (
                "person",
                "path and header disagree",
                self.mesh.get(&format!("/clusters/{ONPREM}/tables")).header(SELECTOR, HOSTED).bearer(&good),
                refused(400, "cluster_ambiguous"),
            ),
        ];
        for (who, what, request, expect) in rows {
            self.expect(who, what, request, expect).await;
        }
        Ok(())
    }

    pub(super) async fn clusters(&mut self) -> Result<()> {
        let good = self.human()?;
        let refused = Expect::Refused;
        for (what, cluster, expect) in [
            ("cluster of another tenant", FOREIGN, refused(404, "cluster_unknown")),
            ("cluster that does not exist", "no-such-cluster", refused(404, "cluster_unknown")),
            ("cluster that was never online", SILENT, refused(503, "cluster_pending")),
        ] {
            let request = self.to(cluster).bearer(&good);
            self.expect("person", what, request, expect).await;
        }
        let request = self.to(OFFLINE).bearer(&good);
        self.expect_soon("person", "offline cluster", request, refused(503, "cluster_offline")).await;
        Ok(())
    }

    /// What a hostile client may do with headers.
    pub(super) async fn headers(&mut self) -> Result<()> {
        let twice = self.human_request()?.bearer(&self.human()?);
        let rows = [
            (
                "header that is not UTF-8",
                self.human_request()?.header("x-note", b"\xff\xfe\x80"),
                Expect::Reaches(HOSTED),
            ),
            (
                "two Host headers",
                self.human_request()?
                    .header("host", format!("{ONPREM}.clusters.{DOMAIN}"))
                    .header("host", "x"),
                Expect::Refused(400, "header_invalid"),
            ),
            ("two Authorization headers", twice, Expect::Refused(400, "credential_ambiguous")),
            (
                "Authorization that is not UTF-8",
                self.to(HOSTED).header("authorization", b"Bearer \xff\xfe"),
                Expect::Refused(401, "credential_malformed"),
            ),
            (
                "token of 40,000 bytes",
                self.to(HOSTED).bearer(&"a".repeat(40_000)),
                Expect::Refused(401, "credential_too_large"),
            ),
            (
                "headers of 100,000 bytes",
                self.human_request()?.header("x-note", "a".repeat(100_000)),
                Expect::Envoy(431),
            ),
        ];
        for (what, request, expect) in rows {
            self.expect("person", what, request, expect).await;
        }
        Ok(())
    }
}

/// A key of the same form with another secret.
fn tampered(key: &str) -> String {
    let mut bytes: Vec<char> = key.chars().collect();
    let middle = bytes.len() / 2;
    if let Some(c) = bytes.get_mut(middle) {
        *c = if *c == 'a' { 'b' } else { 'a' };
    }
    bytes.into_iter().collect()
}
