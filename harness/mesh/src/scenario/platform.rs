//! The platform's own endpoints through the gateway: metadata, key sets and tokens, without an identity.

use hyper::Method;
use hyper::header::HOST;
use serde_json::Value;

use super::{Expect, Scenario};
use crate::error::Result;
use crate::http::{Request, Response};
use crate::idp::{AUDIENCE, ISSUER};
use crate::sample::{HOSTED, ONPREM, TENANT};

/// The host of the sample platform, as `pluginConfig.resource.url` says it but for the slash.
const RESOURCE: &str = "https://api.alfred-platform.example.com";

/// The header by which the gateway knows a client of the Model Context Protocol.
const MCP: (&str, &str) = ("mcp-protocol-version", "2025-06-18");

impl Scenario<'_> {
    pub(super) async fn platform_endpoints(&mut self) -> Result<()> {
        self.discovery().await?;
        for (what, path) in [
            ("keys of identity tokens", "/v1/identity/jwks"),
            ("keys of service tokens", "/oauth2/jwks"),
            ("metadata of the token endpoint", "/.well-known/oauth-authorization-server"),
        ] {
            let direct = Request::get(self.mesh.plan().control_platform_api(), path).send().await?;
            let answer = self.platform(Method::GET, path).send().await?;
            let same = answer.status == 200 && answer.json() == direct.json() && answer.json().is_object();
            self.told("anybody", what, "as the platform says", same, &answer);
        }
        self.token_through_the_gateway().await?;
        let wrong = self.platform(Method::GET, "/oauth2/token");
        self.expect("anybody", "token endpoint, GET", wrong, Expect::Refused(405, "method_not_allowed"))
            .await;
        // Beside the list, and with a forged placement, nobody gets anywhere.
        let refused = Expect::Refused(401, "credential_missing");
        for (what, request) in [
            ("GET /v1/clusters", self.platform(Method::GET, "/v1/clusters")),
            ("POST /v1/api-keys", self.platform(Method::POST, "/v1/api-keys")),
            ("token endpoint of a cluster", self.to(HOSTED).at("/oauth2/jwks")),
        ] {
            self.expect("stranger", what, request, refused).await;
        }
        let forged = self.platform(Method::GET, "/oauth2/jwks").header("x-portcullis-cluster", HOSTED);
        let forged = forged.send().await?;
        let ok = forged.status == 200 && forged.json()["keys"].is_array();
        self.told("stranger", "key set, forged x-portcullis-cluster", "the key set", ok, &forged);
        Ok(())
    }

    /// How an MCP client finds out where to get a token: challenge, then metadata (RFC 9728 §5).
    async fn discovery(&mut self) -> Result<()> {
        let path = format!("/clusters/{HOSTED}/mcp");
        let refused = self.platform(Method::GET, &path).header(MCP.0, MCP.1).send().await?;
        let url = format!("{RESOURCE}/.well-known/oauth-protected-resource{path}");
        let challenge = refused.header("www-authenticate").to_owned();
        let ok = refused.status == 401
            && challenge.contains(&format!("resource_metadata=\"{url}\""))
            && refused.json()["error"]["data"]["reason"] == "credential_missing";
        self.told("MCP client", "no credential", "401 with resource_metadata", ok, &refused);
        let told = challenge.split('"').find_map(|part| part.strip_prefix(RESOURCE)).unwrap_or("/");
        let metadata = self.platform(Method::GET, told).send().await?;
        let body = metadata.json();
        let servers: Vec<&str> = body["authorization_servers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let ok =
            metadata.status == 200 && body["resource"] == format!("{RESOURCE}{path}") && servers == [ISSUER];
        self.told("MCP client", "the metadata that it was told of", "200 with its resource", ok, &metadata);
        let root = self.platform(Method::GET, "/.well-known/oauth-protected-resource").send().await?;
        let ok = root.status == 200 && root.json()["resource"] == AUDIENCE;
        self.told("anybody", "metadata of the platform", "200 with its resource", ok, &root);
        Ok(())
    }

    /// A service gets its token through the gateway, and comes back with it.
    async fn token_through_the_gateway(&mut self) -> Result<()> {
        let admin = self.mesh.admin()?.clone();
        let secret = admin.create_client("svc-gateway", TENANT, false).await?;
        let ask = |secret: &str| {
            let form = [
                ("grant_type", "client_credentials"),
                ("client_id", "svc-gateway"),
                ("client_secret", secret),
            ];
            self.platform(Method::POST, "/oauth2/token").form(&form)
        };
        let (good, bad) = (ask(&secret), ask("pcs_wrong"));
        let answer = good.send().await?;
        let token = answer.json()["access_token"].as_str().unwrap_or_default().to_owned();
        let ok = answer.status == 200 && !token.is_empty();
        self.told("service", "client credentials", "200 with a token", ok, &answer);
        let request = self.to(ONPREM).bearer(&token);
        self.expect_soon("service", "with the token from the gateway", request, Expect::Reaches(ONPREM))
            .await;
        let refused = bad.send().await?;
        let ok = refused.status == 401 && refused.json()["error"] == "invalid_client";
        self.told("forger", "client credentials, wrong secret", "401 invalid_client", ok, &refused);
        Ok(())
    }

    fn platform(&self, method: Method, path: &str) -> Request {
        let host = RESOURCE.trim_start_matches("https://");
        Request::new(method, self.mesh.plan().ingress(), path).header(HOST.as_str(), host)
    }

    /// Notes an answer that is no Data API's.
    fn told(&mut self, who: &str, what: &str, expected: &str, ok: bool, answer: &Response) {
        let outcome = if ok { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) };
        self.outcome(who, what, expected, outcome, answer.elapsed);
    }
}
