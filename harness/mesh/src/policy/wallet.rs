//! The credentials of callers, made as they are needed: by the sample identity provider, the control service and the
//! mesh's authority.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::{Value, json};

use super::case::{Case, Claims, ServiceClient};
use crate::error::Result;
use crate::http::Request;
use crate::idp::{Algorithm, OPAQUE_PREFIX, claims};
use crate::mesh::Mesh;

/// What was made already and is good for more than one request.
#[derive(Default)]
pub(super) struct Wallet {
    keys: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    opaque: usize,
}

impl Wallet {
    /// The request of a case, with what its caller presents.
    pub(super) async fn request(&mut self, mesh: &Mesh, case: &Case) -> Result<Request> {
        let (ask, caller) = (&case.request, &case.caller);
        let mut request = Request::new(ask.method.clone(), ask.at.address(mesh.plan()), &ask.path);
        if let Some(id) = &caller.workload {
            request = request.over(&mesh.tls_of_spiffe(id)?);
        }
        if let Some(of) = &caller.jwt {
            let token = mesh.idp().sign(Algorithm::Es256, &claims(&of.subject, &of.tenant, &of.others))?;
            request = request.bearer(&token);
        }
        if let Some(of) = &caller.oauth_token {
            request = request.bearer(&self.opaque(mesh, of));
        }
        if let Some(key) = &caller.api_key {
            request = request.header("x-api-key", self.key(mesh, &key.0).await?);
        }
        if let Some(client) = &caller.service_token {
            request = request.bearer(&self.service_token(mesh, client).await?);
        }
        let request = ask.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        Ok(request.body(&ask.body))
    }

    fn opaque(&mut self, mesh: &Mesh, of: &Claims) -> String {
        self.opaque += 1;
        let token = format!("{OPAQUE_PREFIX}case-{}", self.opaque);
        let mut said = claims(&of.subject, &of.tenant, &of.others);
        said["active"] = true.into();
        mesh.idp().served().grant(&token, &said);
        token
    }

    async fn key(&mut self, mesh: &Mesh, of: &Value) -> Result<String> {
        if let Some(key) = self.keys.get(&of.to_string()) {
            return Ok(key.clone());
        }
        let made = mesh.admin()?.call(Method::POST, "/v1/api-keys", Some(of)).await?;
        let key = made["key"].as_str().unwrap_or_default().to_owned();
        self.keys.insert(of.to_string(), key.clone());
        Ok(key)
    }

    async fn service_token(&mut self, mesh: &Mesh, client: &ServiceClient) -> Result<String> {
        let ServiceClient { id, of, scopes } = client;
        let known = format!("{id} {of}");
        if !self.secrets.contains_key(&known) {
            let mut body = json!({"id": id, "may_exchange": false});
            if let (Some(body), Some(of)) = (body.as_object_mut(), of.as_object()) {
                body.extend(of.clone());
            }
            let made = mesh.admin()?.call(Method::POST, "/v1/service-clients", Some(&body)).await?;
            let secret = made["client_secret"].as_str().unwrap_or_default().to_owned();
            self.secrets.insert(known.clone(), secret);
        }
        let secret = self.secrets.get(&known).map(String::as_str).unwrap_or_default();
        let scopes = scopes.join(" ");
        let mut form =
            vec![("grant_type", "client_credentials"), ("client_id", id.as_str()), ("client_secret", secret)];
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        mesh.admin()?.request_token(&form).await
    }
}
