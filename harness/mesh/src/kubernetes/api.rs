//! The API itself, for what is asked hundreds of times: `kubectl` takes a tenth of a second to start.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::Value;

use crate::error::Result;
use crate::http::{Request, Response};
use crate::tls::Tls;

/// The API server as one user reaches it.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    tls: Tls,
}

impl Api {
    pub(super) fn new(address: SocketAddr, tls: Tls) -> Self {
        Self { address, tls }
    }

    /// Asks what it would say to a new resource, and changes nothing. `collection` is a path such as
    /// `/apis/security.istio.io/v1/namespaces/default/authorizationpolicies`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn try_create(&self, collection: &str, resource: &Value) -> Result<Response> {
        let path = [collection, "?dryRun=All&fieldValidation=Strict"].concat();
        Request::new(Method::POST, self.address, &path).over(&self.tls).json(resource).send().await
    }
}
