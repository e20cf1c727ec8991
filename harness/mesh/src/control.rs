//! The control service of a mesh: its configuration, and its platform API as an administrator uses it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::block::Plan;
use crate::error::{MeshError, Result};
use crate::http::{Request, Response};
use crate::idp::{AUDIENCE, CLIENT, ISSUER, ISSUER_BEFORE, OPAQUE_PREFIX};
use crate::pki::{Workload, write_private};
use crate::sample::{CLIENT_AGENTS, CLIENT_PEOPLE, CLIENT_WORKERS, HOSTED, ONPREM, TENANT};

/// `iss` of the identity tokens that the gateway forwards.
pub const IDENTITY_ISSUER: &str = "https://identity.alfred-platform.example.com/";

/// `iss` of the service tokens of the control service.
pub const SERVICE_ISSUER: &str = "https://platform.alfred-platform.example.com";

/// How often the issuers' keys are fetched. Short, so that a test need not wait for a withdrawn key.
pub const JWKS_REFRESH_S: u32 = 2;

/// The origin of the console of the tenant whose cluster has a CORS policy of its own.
pub const TENANT_CONSOLE: &str = "https://console.acme.example";

/// `portcullis` and the folder that it works in.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    program: PathBuf,
    config: PathBuf,
}

impl Control {
    /// Writes `control.yaml` and the mesh token.
    pub(crate) fn prepare(
        run_dir: &Path,
        plan: Plan,
        token: &str,
        gateway: Workload,
        offline_after_s: u32,
    ) -> Result<Self> {
        let dir = run_dir.join("control");
        std::fs::create_dir_all(&dir).map_err(MeshError::io("create", &dir))?;
        write_private(&dir.join("mesh-token"), token)?;
        write_private(&dir.join("introspection-secret"), CLIENT.1)?;
        let config = dir.join("control.yaml");
        let text = serde_norway::to_string(&configuration(plan, gateway, offline_after_s))
            .map_err(|e| MeshError::io("write", &config)(std::io::Error::other(e)))?;
        write_private(&config, &text)?;
        Ok(Self { program: program()?, config })
    }

    /// The command that serves.
    pub(crate) fn serve(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&self.config);
        command
    }

    /// Runs a command that prints one line.
    pub(crate) async fn line(&self, name: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg(name).arg("--config").arg(&self.config).kill_on_drop(true);
        let output = command.output().await.map_err(MeshError::io("start", &self.program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(MeshError::Command {
            command: format!("portcullis {name} --config {}", self.config.display()),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
            hint: "The configuration is generated: this is a fault of the harness.".to_owned(),
        })
    }
}

fn configuration(plan: Plan, gateway: Workload, offline_after_s: u32) -> Value {
    let sidecar =
        |cluster, workload: Workload| json!({"cluster": cluster, "principals": [workload.spiffe_id()]});
    let rule = |name, source_type, client| json!({"name": name, "sourceType": source_type, "when": {"credential": ["jwt"], "clientId": [client]}});
    json!({
        "listeners": {
            "mesh": plan.control_mesh_api().to_string(),
            "platform": plan.control_platform_api().to_string(),
            "operations": plan.control_operations().to_string(),
        },
        "store": {"dataDir": "data"},
        "mesh": {
            "tokenFile": "mesh-token",
            "gateways": [gateway.spiffe_id()],
            "sidecars": [sidecar(HOSTED, Workload::HOSTED), sidecar(ONPREM, Workload::ONPREM)],
        },
        "identity": {"issuer": IDENTITY_ISSUER, "publishSeconds": 1},
        "clusters": {"offlineAfterSeconds": offline_after_s},
        "issuers": [{
            "issuer": ISSUER,
            "aliases": [ISSUER_BEFORE],
            "audiences": [AUDIENCE],
            "algorithms": ["RS256", "ES256", "EdDSA"],
            "jwksUri": format!("http://{}/jwks.json", plan.idp()),
        }],
        "introspection": [{
            "name": "sample",
            "issuer": ISSUER,
            "endpoint": format!("http://{}/introspect", plan.idp()),
            "clientId": CLIENT.0,
            "clientSecretFile": "introspection-secret",
            "tokenPrefix": OPAQUE_PREFIX,
            "audiences": [AUDIENCE],
            "activeSeconds": 1,
            "inactiveSeconds": 1,
        }],
        "jwksRefreshSeconds": JWKS_REFRESH_S,
        "resources": [{"clusters": [ONPREM], "browser": {"cors": {"origins": [TENANT_CONSOLE]}}}],
        "workloads": [{"spiffeId": Workload::RUNNER.spiffe_id(), "tenant": TENANT, "roles": ["pipeline"]}],
        "serviceTokens": {"issuer": SERVICE_ISSUER, "audiences": [AUDIENCE], "publishSeconds": 1},
        "sourceRules": [
            {"name": "agents for people", "sourceType": "mcp_agent",
                "when": {"credential": ["service_token"], "delegated": true}},
            {"name": "services", "sourceType": "worker", "when": {"credential": ["service_token"]}},
            {"name": "people with opaque tokens", "sourceType": "human",
                "when": {"credential": ["oauth_token"], "clientId": [CLIENT_PEOPLE]}},
            {"name": "workloads", "sourceType": "worker", "when": {"credential": ["workload"]}},
            rule("people", "human", CLIENT_PEOPLE),
            rule("workflows", "worker", CLIENT_WORKERS),
            rule("agents", "mcp_agent", CLIENT_AGENTS),
        ],
    })
}

/// `portcullis`, beside this program or, for a test, in the folder above it.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(MeshError::io("find", "this program"))?;
    own.ancestors().skip(1).take(2).map(|dir| dir.join("portcullis")).find(|path| path.is_file()).ok_or(
        MeshError::ToolMissing {
            tool: "portcullis",
            purpose: "run the control service",
            install: "Build it: `cargo build -p portcullis-control`",
        },
    )
}

/// The platform API, with an administrator's token.
#[derive(Debug, Clone)]
pub struct Admin {
    address: SocketAddr,
    token: String,
}

/// An API key that was just made.
#[derive(Debug, Clone)]
pub struct IssuedApiKey {
    /// Its public id.
    pub id: String,
    /// The key itself, as a client presents it.
    pub key: String,
}

impl Admin {
    pub(crate) fn new(address: SocketAddr, token: String) -> Self {
        Self { address, token }
    }

    /// The administrator's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Calls the platform API.
    ///
    /// # Errors
    /// [`MeshError::Control`] for any answer that is not a success.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = Request::new(method.clone(), self.address, path).bearer(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        success(&format!("{method} {path}"), request.send().await?)
    }

    /// Registers a cluster; returns its token for heartbeats.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn register(&self, id: &str, tenant: &str, placement: &str) -> Result<String> {
        let body = json!({"id": id, "tenant": tenant, "placement": placement});
        let answer = self.call(Method::POST, "/v1/clusters", Some(&body)).await?;
        Ok(text(&answer["token"]))
    }

    /// A cluster's own heartbeat.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn heartbeat(&self, id: &str, token: &str) -> Result<()> {
        let path = format!("/v1/clusters/{id}/heartbeat");
        let response = Request::new(Method::POST, self.address, &path).bearer(token).send().await?;
        success(&format!("POST {path}"), response).map(drop)
    }

    /// Suspends or resumes a cluster, and waits up to `wait_s` seconds until every worker has it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn administer(&self, id: &str, what: &str, wait_s: u32) -> Result<Value> {
        self.call(Method::POST, &format!("/v1/clusters/{id}/{what}?wait={wait_s}"), None).await
    }

    /// Makes an API key.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_key(&self, tenant: &str, subject: &str, source_type: &str) -> Result<IssuedApiKey> {
        let body = json!({"tenant": tenant, "subject": subject, "source_type": source_type});
        let answer = self.call(Method::POST, "/v1/api-keys", Some(&body)).await?;
        Ok(IssuedApiKey { id: text(&answer["api_key"]["id"]), key: text(&answer["key"]) })
    }

    /// Makes a client of the token endpoint; returns its secret.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_client(&self, id: &str, tenant: &str, may_exchange: bool) -> Result<String> {
        let body = json!({"id": id, "tenant": tenant, "may_exchange": may_exchange});
        let answer = self.call(Method::POST, "/v1/service-clients", Some(&body)).await?;
        Ok(text(&answer["client_secret"]))
    }

    /// Asks the token endpoint for a token, by the fields of a form.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn request_token(&self, form: &[(&str, &str)]) -> Result<String> {
        let request = Request::new(Method::POST, self.address, "/oauth2/token").form(form);
        let answer = success("POST /oauth2/token", request.send().await?)?;
        Ok(text(&answer["access_token"]))
    }

    /// Audit records, by a query such as `request_id=…`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn audit(&self, query: &str) -> Result<Vec<Value>> {
        let mut answer = self.call(Method::GET, &format!("/v1/audit/records?{query}"), None).await?;
        Ok(answer["records"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }
}

/// The body of a successful answer.
fn success(what: &str, response: Response) -> Result<Value> {
    match response.status {
        200..=299 => Ok(response.json()),
        status => Err(MeshError::Control { what: what.to_owned(), status, body: response.text() }),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
