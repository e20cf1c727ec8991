//! What stands at a customer's for a cluster behind Skupper.

use std::fmt;

use portcullis_identity::ids::ClusterId;
use serde::Deserialize;

use crate::resource::{Head, Kind, Resource};
use crate::settings::Settings;
use crate::skupper::{AccessToken, Connector, Site};

/// What the status of a grant gives to whom it was made for: `kubectl get accessgrant NAME -o jsonpath={.status}`.
#[derive(Clone, Deserialize)]
pub struct Grant {
    /// Where it is redeemed.
    url: String,
    /// The secret by which it is redeemed, once.
    code: String,
    /// The authority of that server.
    ca: String,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The cluster's site, a connector for each service that may be reached, and with a grant the token that redeems it.
#[must_use]
pub fn cluster_side(
    settings: &Settings,
    cluster: &ClusterId,
    namespace: &str,
    grant: Option<&Grant>,
) -> Vec<Resource> {
    let id = cluster.as_str();
    let head = |name| Head { namespace, name, cluster: Some(cluster) };
    // It dials and lets nobody dial in.
    let site = Site { link_access: None, edge: true };
    let mut all = vec![Resource::new(Kind::Site, &head(id), &site)];
    for service in settings.services_of(cluster) {
        let connector = Connector {
            routing_key: service.name.clone(),
            selector: ["app=", &service.name].concat(),
            port: service.port,
        };
        all.push(Resource::new(Kind::Connector, &head(&service.name), &connector));
    }
    let token = grant.map(|grant| AccessToken { url: &grant.url, code: &grant.code, ca: &grant.ca });
    all.extend(token.map(|token| Resource::new(Kind::AccessToken, &head(id), &token)));
    all
}
