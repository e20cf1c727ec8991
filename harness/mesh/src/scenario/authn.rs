//! Credentials that live: opaque tokens, service tokens, agents that act for people, keys that change, an
//! identity provider that is down.

use std::time::Duration;

use serde_json::json;

use super::{Expect, Scenario};
use crate::control::CLIENT_PEOPLE;
use crate::error::Result;
use crate::idp::{Algorithm, OPAQUE_PREFIX, claims};
use crate::mesh::{HOSTED, ONPREM, TENANT};

const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
    &subject_token_type=urn:ietf:params:oauth:token-type:access_token";

impl Scenario<'_> {
    pub(super) async fn opaque_tokens(&mut self) -> Result<()> {
        let extra = json!({"active": true, "client_id": CLIENT_PEOPLE});
        let token = [OPAQUE_PREFIX, "good"].concat();
        self.mesh.idp().served().grant(&token, &claims("ann@acme.example", TENANT, &extra));
        let request = self.to(HOSTED).bearer(&token);
        self.expect("person, opaque", "token that the provider knows", request, Expect::Reaches(HOSTED)).await;
        let request = self.to(HOSTED).bearer(&[OPAQUE_PREFIX, "bad"].concat());
        let refused = Expect::Refused(401, "token_inactive");
        self.expect("stranger", "opaque token that the provider does not know", request, refused).await;
        Ok(())
    }

    pub(super) async fn service_tokens(&mut self) -> Result<()> {
        let admin = self.mesh.admin()?.clone();
        let secret = admin.create_client("svc-export", TENANT, false).await?;
        let form = format!("grant_type=client_credentials&client_id=svc-export&client_secret={secret}");
        let service = self.to(ONPREM).bearer(&admin.token(&form).await?);
        // The service's own issuer may be newer than a worker's snapshot.
        self.expect_soon("worker, service token", "on-premises cluster", service.clone(), Expect::Reaches(ONPREM))
            .await;
        let secret = admin.create_client("svc-agent", TENANT, true).await?;
        let subject = self.human()?;
        let form = format!("{EXCHANGE}&client_id=svc-agent&client_secret={secret}&subject_token={subject}");
        let agent = self.to(HOSTED).bearer(&admin.token(&form).await?);
        self.expect("MCP agent, exchanged token", "acts for a person", agent, Expect::Reaches(HOSTED)).await;
        admin.call(hyper::Method::DELETE, "/v1/service-clients/svc-export?wait=5", None).await?;
        let revoked = Expect::Refused(401, "credential_revoked");
        self.expect("worker, service token", "client revoked", service, revoked).await;
        Ok(())
    }

    /// The provider replaces its key without notice: nobody is refused. It goes down: nobody is refused who
    /// has a token already.
    pub(super) async fn issuer_keys(&mut self) -> Result<()> {
        let old = self.human_request()?;
        self.mesh.idp_mut().rotate("sample-es256-2");
        let new = self.token("ann@acme.example", CLIENT_PEOPLE, Algorithm::Es256, &json!({}))?;
        let new = self.to(HOSTED).bearer(&new);
        self.expect("person, ES256", "first token of a new key", new.clone(), Expect::Reaches(HOSTED)).await;
        let gone = Expect::Refused(401, "key_unknown");
        self.expect_soon("person, ES256", "token of the withdrawn key", old, gone).await;
        self.mesh.idp().served().set_down(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.expect("person, ES256", "identity provider down", new.clone(), Expect::Reaches(HOSTED)).await;
        let opaque = self.to(HOSTED).bearer(&[OPAQUE_PREFIX, "other"].concat());
        let failed = Expect::Refused(503, "introspection_unavailable");
        self.expect("person, opaque", "identity provider down", opaque, failed).await;
        self.mesh.idp().served().set_down(false);
        Ok(())
    }

    /// The key of identity tokens changes under traffic.
    pub(super) async fn identity_key(&mut self) -> Result<()> {
        let admin = self.mesh.admin()?.clone();
        let begun = admin.call(hyper::Method::POST, "/v1/signing-keys/identity", None).await?;
        let kid = begun["signing_key"]["kid"].as_str().unwrap_or_default().to_owned();
        let request = self.human_request()?;
        let (start, mut refused, mut signs) = (std::time::Instant::now(), 0, false);
        let mut sent = 0;
        while start.elapsed() < Duration::from_secs(60) && !signs {
            let answer = request.send().await?;
            refused += u32::from(answer.status != 200);
            sent += 1;
            let keys = admin.call(hyper::Method::GET, "/v1/signing-keys", None).await?;
            let mut keys = keys["signing_keys"].as_array().into_iter().flatten();
            signs = keys.any(|key| key["kid"] == *kid && key["state"] == "signs");
        }
        let outcome = match (signs, refused) {
            (true, 0) => Ok(()),
            (false, _) => Err("the new key does not sign".to_owned()),
            (true, n) => Err(format!("{n} of {sent} requests refused")),
        };
        let what = "new key of identity tokens under traffic";
        self.outcome("operator", what, "nobody refused", outcome, start.elapsed());
        self.expect("person", "after the change of key", request, Expect::Reaches(HOSTED)).await;
        Ok(())
    }
}
