//! What single data clusters say of themselves as protected resources, and ask of callers.

use std::collections::HashSet;

use portcullis_identity::ids::{ClusterId, Scope};
use portcullis_model::browser::{BrowserRules, RawBrowser};
use portcullis_model::edge::authorization_servers;
use portcullis_model::resources::{ClusterResource, ResourcesDocument};

use super::section::Section;

/// Entries, and origins of all of them: filters look through all of them for a page's origin.
const MOST: (usize, usize) = (256, 1_024);

/// Scopes that one entry may ask for.
const MAX_SCOPES: usize = 64;

pub(super) fn resources(root: &mut Section<'_>) -> ResourcesDocument {
    let mut seen = HashSet::new();
    let mut resources = Vec::new();
    for mut section in root.list("resources") {
        let clusters: Option<Vec<ClusterId>> = section.required("clusters", "the ids of one cluster or more");
        if clusters.as_ref().is_some_and(Vec::is_empty) {
            section.error("clusters", "is empty: name the clusters");
        }
        let clusters = clusters.unwrap_or_default();
        if clusters.iter().any(|cluster| !seen.insert(cluster.clone())) {
            section.error(
                "clusters",
                "names a cluster that is listed already; put all that is said of it in one entry",
            );
        }
        let browser = section.optional::<RawBrowser>("browser").unwrap_or_default();
        let browser = BrowserRules::read(browser, &section.name("browser"), section.errors());
        let servers = section.optional::<Vec<String>>("authorizationServers").unwrap_or_default();
        let servers = authorization_servers(servers, &section.name("authorizationServers"), section.errors());
        let required_scopes: Vec<Scope> = section.optional("requiredScopes").unwrap_or_default();
        if required_scopes.len() > MAX_SCOPES {
            section.error("requiredScopes", "at most 64 scopes");
        }
        section.finish();
        resources.push(ClusterResource {
            clusters,
            browser,
            authorization_servers: servers,
            required_scopes,
        });
    }
    let origins = resources
        .iter()
        .filter_map(|r| r.browser.cors.as_ref())
        .map(|cors| cors.origins.len())
        .sum::<usize>();
    if resources.len() > MOST.0 || origins > MOST.1 {
        root.error("resources", "at most 256 entries, and 1,024 origins in all of them together");
    }
    ResourcesDocument { resources }
}
