//! Credentials that live: opaque tokens, service tokens, agents that act for people, keys that change, an
//! identity provider that is down.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Expect, Scenario, fits};
use crate::control::{IDENTITY_ISSUER, JWKS_REFRESH_S};
use crate::error::Result;
use crate::http::Request;
use crate::idp::{Algorithm, ISSUER, OPAQUE_PREFIX, claims};
use crate::overlay::Overlay;
use crate::sample::{CLIENT_PEOPLE, HOSTED, ONPREM, TENANT};
use crate::wait::{self, Seen};

/// What a busy machine may take on top of the refresh interval.
const SLACK: Duration = Duration::from_secs(3);

/// How many times the keys are fetched while both of the provider's are in use.
const FETCHES: u64 = 2;

const EXCHANGE: [(&str, &str); 2] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
];

impl Scenario<'_> {
    pub(super) async fn opaque_tokens(&mut self) -> Result<()> {
        let extra = json!({"active": true, "client_id": CLIENT_PEOPLE});
        let token = [OPAQUE_PREFIX, "good"].concat();
        self.mesh.idp().served().grant(&token, &claims("ann@acme.example", TENANT, &extra));
        let request = self.to(HOSTED).bearer(&token);
        self.expect("person, opaque", "token that the provider knows", request, Expect::Reaches(HOSTED))
            .await;
        let request = self.to(HOSTED).bearer(&[OPAQUE_PREFIX, "bad"].concat());
        let refused = Expect::Refused(401, "token_inactive");
        self.expect("stranger", "opaque token that the provider does not know", request, refused).await;
        Ok(())
    }

    pub(super) async fn service_tokens(&mut self) -> Result<()> {
        let admin = self.mesh.admin()?.clone();
        let secret = admin.create_client("svc-export", TENANT, false).await?;
        let form =
            [("grant_type", "client_credentials"), ("client_id", "svc-export"), ("client_secret", &secret)];
        let service = self.to(ONPREM).bearer(&admin.request_token(&form).await?);
        // The service's own issuer may be newer than a worker's snapshot.
        self.expect_soon(
            "worker, service token",
            "on-premises cluster",
            service.clone(),
            Expect::Reaches(ONPREM),
        )
        .await;
        let secret = admin.create_client("svc-agent", TENANT, true).await?;
        let subject = self.human()?;
        let client = [("client_id", "svc-agent"), ("client_secret", secret.as_str())];
        let form = [&EXCHANGE[..], &client, &[("subject_token", subject.as_str())]].concat();
        let agent = self.to(HOSTED).bearer(&admin.request_token(&form).await?);
        self.expect("MCP agent, exchanged token", "acts for a person", agent, Expect::Reaches(HOSTED)).await;
        admin.call(hyper::Method::DELETE, "/v1/service-clients/svc-export?wait=30", None).await?;
        let revoked = Expect::Refused(401, "credential_revoked");
        self.expect("worker, service token", "client revoked", service, revoked).await;
        Ok(())
    }

    /// The provider changes its key as it should: both are published for a while, and nobody is refused. Then
    /// the old one is withdrawn.
    pub(super) async fn issuer_rotation(&mut self) -> Result<()> {
        let old = self.human_request()?;
        self.mesh.idp_mut().rotate_gently("sample-es256-1b");
        let new = self.human_request()?;
        let (start, mut sent, mut refused) = (Instant::now(), 0_u32, 0_u32);
        let log = self.mesh.log("control");
        let before = self.provider().await?["fetched"].as_u64();
        let fetched = wait::until("fetches of the provider's keys", &log, async || {
            for request in [&old, &new].repeat(4) {
                refused += u32::from(!fits(&request.send().await?, Expect::Reaches(HOSTED)));
                sent += 1;
            }
            let now = self.provider().await?["fetched"].as_u64();
            let enough = now >= before.map(|before| before + FETCHES);
            Ok(if enough { Seen::Done(()) } else { Seen::NotYet(format!("{now:?} after {before:?}")) })
        });
        let outcome = match (fetched.await, refused) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), refused) => Err(format!("{refused} refused")),
            (Err(error), _) => Err(error.to_string()),
        };
        let what = format!("new key beside the old one ({sent} requests)");
        self.outcome("identity provider", &what, "nobody refused", outcome, start.elapsed());
        self.mesh.idp_mut().withdraw_key();
        let (start, mut last) = (Instant::now(), Duration::ZERO);
        wait::in_a_row("the end of the withdrawn key", &log, async || {
            refused += u32::from(!fits(&new.send().await?, Expect::Reaches(HOSTED)));
            if fits(&old.send().await?, Expect::Reaches(HOSTED)) {
                last = start.elapsed();
                return Ok(Seen::NotYet("it is let through".to_owned()));
            }
            Ok(Seen::Done(()))
        })
        .await?;
        let late = Duration::from_secs(u64::from(JWKS_REFRESH_S)) + SLACK;
        let outcome = match (last < late, refused) {
            (true, 0) => Ok(()),
            _ => Err(format!("{refused} of the new key refused")),
        };
        let what = format!("old key withdrawn, passed for {:.1} s", last.as_secs_f64());
        self.outcome("identity provider", &what, "within the refresh interval", outcome, last);
        self.expect("person, ES256", "token of the old key", old, Expect::Refused(401, "key_unknown")).await;
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
        wait::until("the outage of the provider", &self.mesh.log("control"), async || {
            let state = self.provider().await?["state"].clone();
            Ok(if state == "stale" { Seen::Done(()) } else { Seen::NotYet(state.to_string()) })
        })
        .await?;
        self.expect("person, ES256", "identity provider down", new.clone(), Expect::Reaches(HOSTED)).await;
        let opaque = self.to(HOSTED).bearer(&[OPAQUE_PREFIX, "other"].concat());
        let failed = Expect::Refused(503, "introspection_unavailable");
        self.expect("person, opaque", "identity provider down", opaque, failed).await;
        self.mesh.idp().served().set_down(false);
        Ok(())
    }

    /// What the control service says about the keys of the sample provider.
    async fn provider(&self) -> Result<Value> {
        let list = self.mesh.admin()?.call(hyper::Method::GET, "/v1/issuers", None).await?;
        let mut issuers = list["issuers"].as_array().into_iter().flatten();
        Ok(issuers.find(|issuer| issuer["issuer"] == ISSUER).cloned().unwrap_or_default())
    }

    /// The key of identity tokens changes under traffic.
    pub(super) async fn identity_key(&mut self) -> Result<()> {
        let admin = self.mesh.admin()?.clone();
        let begun = admin.call(hyper::Method::POST, "/v1/signing-keys/identity", None).await?;
        let kid = begun["signing_key"]["kid"].as_str().unwrap_or_default().to_owned();
        let request = self.human_request()?;
        let (start, mut refused, mut sent) = (Instant::now(), 0, 0);
        let log = self.mesh.log("control");
        let signs = wait::until("the new key of identity tokens", &log, async || {
            refused += u32::from(request.send().await?.status != 200);
            sent += 1;
            let keys = admin.call(hyper::Method::GET, "/v1/signing-keys", None).await?;
            let mut found = keys["signing_keys"].as_array().into_iter().flatten();
            let signs = found.any(|key| key["kid"] == *kid && key["state"] == "signs");
            Ok(if signs { Seen::Done(()) } else { Seen::NotYet(keys.to_string()) })
        });
        let outcome = match (signs.await, refused) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), refused) => Err(format!("{refused} of {sent} requests refused")),
            (Err(error), _) => Err(error.to_string()),
        };
        let what = "new key of identity tokens under traffic";
        self.outcome("operator", what, "nobody refused", outcome, start.elapsed());
        self.expect("person", "after the change of key", request, Expect::Reaches(HOSTED)).await;
        Ok(())
    }
}

/// Files that the scenario adds to `overlays/local` for the sidecar of `acme-hosted`.
const AUTHENTICATION: &str = "sidecar-authentication.yaml";
const CLAIMS: &str = "sidecar-claims.yaml";

impl Scenario<'_> {
    /// A sidecar without the module decides by the claims of the identity token: Istio's own
    /// `RequestAuthentication` verifies it, and an `AuthorizationPolicy` asks for `source_type`.
    pub(super) async fn claims_at_sidecar(&mut self) -> Result<()> {
        let jwks = Request::get(self.mesh.plan().control_platform_api(), "/v1/identity/jwks").send().await?;
        let overlay = Overlay::local(self.mesh.manifests());
        overlay.write(AUTHENTICATION, &request_authentication(&jwks.text()))?;
        overlay.write(CLAIMS, &no_agents())?;
        let ours = |files: &mut Vec<Value>| files.extend([AUTHENTICATION.into(), CLAIMS.into()]);
        overlay.edit_list("resources", ours)?;
        let took = self.mesh.apply().await?;
        self.outcome("operator", "edit: no MCP agents, by a claim at the sidecar", "applied", Ok(()), took);
        let agent = self.to(HOSTED).bearer(&self.agent()?);
        self.expect_soon("MCP agent", "source_type mcp_agent at the sidecar", agent.clone(), Expect::Policy)
            .await;
        let person = self.human_request()?;
        self.expect_soon("person", "source_type human at the sidecar", person, Expect::Reaches(HOSTED)).await;
        overlay.edit_list("resources", |files| {
            files.retain(|name| *name != AUTHENTICATION && *name != CLAIMS);
        })?;
        self.mesh.apply().await?;
        self.expect_soon("MCP agent", "after the edit is taken back", agent, Expect::Reaches(HOSTED)).await;
        Ok(())
    }
}

fn at_sidecar(kind: &str, name: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": "data-api"}});
    let metadata = json!({"name": name, "namespace": HOSTED});
    json!({"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn request_authentication(jwks: &str) -> Value {
    let rule = json!({
        "issuer": IDENTITY_ISSUER,
        "audiences": [HOSTED],
        "jwks": jwks,
        "fromHeaders": [{"name": "x-portcullis-identity"}],
        "forwardOriginalToken": true,
    });
    at_sidecar("RequestAuthentication", "identity-token", json!({"jwtRules": [rule]}))
}

/// Refuses whatever is no person or worker: also a request without a verified identity.
fn no_agents() -> Value {
    let when = json!([{"key": "request.auth.claims[source_type]", "notValues": ["human", "worker"]}]);
    at_sidecar("AuthorizationPolicy", "no-agents", json!({"action": "DENY", "rules": [{"when": when}]}))
}
