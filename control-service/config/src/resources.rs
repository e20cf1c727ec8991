//! What single data clusters say of themselves as protected resources, and ask of callers.

use std::collections::{BTreeSet, HashSet};

use portcullis_identity::ids::{ClusterId, Scope};
use portcullis_model::browser::{BrowserRules, CLUSTERS_LIST_BYTES, CorsPolicy, told_len};
use portcullis_model::edge::authorization_servers;
use portcullis_model::resources::{ClusterResource, ResourcesDocument};

use super::section::Section;

/// Entries, and origins of all of them: filters look through all of them for a page's origin.
const MOST: (usize, usize) = (256, 1_024);

/// Methods and headers of all entries: filters take them together for a page that several of them name.
const MOST_NAMES: usize = 4_096;

/// Scopes that one entry may ask for.
const MAX_SCOPES: usize = 64;

pub(crate) fn resources(root: &mut Section<'_>) -> ResourcesDocument {
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
        let browser = section.optional::<serde_json::Value>("browser").unwrap_or_default();
        let browser = BrowserRules::read(&browser, &section.name("browser"), section.errors());
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
    let policies: Vec<&CorsPolicy> = resources.iter().filter_map(|r| r.browser.cors.as_ref()).collect();
    let origins = policies.iter().map(|cors| cors.origins.len()).sum::<usize>();
    if resources.len() > MOST.0 || origins > MOST.1 {
        root.error("resources", "at most 256 entries, and 1,024 origins in all of them together");
    }
    check_told(root, &policies);
    ResourcesDocument { resources }
}

/// Bounds what a preflight tells: it takes all policies together, because one by the cluster would tell which there
/// are, and who asks is not known.
fn check_told(root: &mut Section<'_>, policies: &[&CorsPolicy]) {
    let told: Vec<_> = policies.iter().flat_map(|policy| policy.told()).collect();
    if told.iter().map(|(_, list)| list.len()).sum::<usize>() > MOST_NAMES {
        let what = "methods, headers and exposedHeaders of all entries together have more than 4,096 names";
        root.error("resources", format!("{what}: list fewer, or give clusters with one policy one entry"));
    }
    for field in ["methods", "headers", "exposedHeaders"] {
        let lists = told.iter().filter(|(name, _)| *name == field);
        let names: BTreeSet<&String> = lists.flat_map(|(_, list)| *list).collect();
        if names.into_iter().map(|name| told_len(name)).sum::<usize>() > CLUSTERS_LIST_BYTES {
            let what = format!(
                "browser.cors.{field} of all entries together has more than {CLUSTERS_LIST_BYTES} bytes"
            );
            root.error(
                "resources",
                format!("{what}, each name counted once: a preflight tells all of it; list fewer"),
            );
        }
    }
}
