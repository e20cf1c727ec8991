//! `portcullis config check`: what was looked at, once nothing was found wrong.

use portcullis_control_config::Config;

/// What was read of a configuration, line by line, and what a check without a service cannot tell.
#[must_use]
pub(super) fn report(config: &Config) -> Vec<String> {
    let policy = &config.policy;
    let issuers = policy.issuers.iter().map(|i| format!("{} ({})", i.issuer, i.keys.name()));
    let providers = policy.introspection.iter().map(|p| p.document.name.clone());
    let rules = policy.source_rules.rules.iter().map(|rule| rule.name.clone());
    let workloads = policy.workloads.workloads.iter().map(|w| w.spiffe_id.to_string());
    let resources = policy.resources.resources.iter().flat_map(|r| &r.clusters).map(ToString::to_string);
    let listeners = &config.listeners;
    let own = config.service_tokens.as_ref().map(|tokens| tokens.issuer.to_string());
    vec![
        format!("checked {}", config.file.display()),
        format!(
            "  listeners: mesh {}, platform {}, operations {}",
            listeners.mesh, listeners.platform, listeners.operations
        ),
        format!("  data folder: {}", config.data_dir.display()),
        list("issuers", issuers),
        list("introspection", providers),
        list("workloads", workloads),
        list("source rules, in order", rules),
        list("clusters in resources", resources),
        list("issuer of service tokens", own.into_iter()),
        "  not checked: whether addresses answer, the database, and the sealing key".to_owned(),
    ]
}

fn list(what: &str, items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => format!("  {what}: none"),
        false => format!("  {what}: {}", items.join(", ")),
    }
}
