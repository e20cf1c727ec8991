//! The fields that kinds have: structural schemas of the custom resources, without their descriptions.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// `GROUP_VERSION_KIND` and the schema.
const FILES: &[(&str, &str)] = &[
    ("cert-manager.io_v1_Certificate", include_str!("../schemas/cert-manager.io_v1_Certificate.json")),
    ("cert-manager.io_v1_ClusterIssuer", include_str!("../schemas/cert-manager.io_v1_ClusterIssuer.json")),
    ("cert-manager.io_v1_Issuer", include_str!("../schemas/cert-manager.io_v1_Issuer.json")),
    (
        "extensions.istio.io_v1alpha1_TrafficExtension",
        include_str!("../schemas/extensions.istio.io_v1alpha1_TrafficExtension.json"),
    ),
    (
        "extensions.istio.io_v1alpha1_WasmPlugin",
        include_str!("../schemas/extensions.istio.io_v1alpha1_WasmPlugin.json"),
    ),
    (
        "monitoring.coreos.com_v1_PodMonitor",
        include_str!("../schemas/monitoring.coreos.com_v1_PodMonitor.json"),
    ),
    (
        "monitoring.coreos.com_v1_PrometheusRule",
        include_str!("../schemas/monitoring.coreos.com_v1_PrometheusRule.json"),
    ),
    (
        "monitoring.coreos.com_v1_ServiceMonitor",
        include_str!("../schemas/monitoring.coreos.com_v1_ServiceMonitor.json"),
    ),
    (
        "networking.istio.io_v1_DestinationRule",
        include_str!("../schemas/networking.istio.io_v1_DestinationRule.json"),
    ),
    ("networking.istio.io_v1_Gateway", include_str!("../schemas/networking.istio.io_v1_Gateway.json")),
    (
        "networking.istio.io_v1_ServiceEntry",
        include_str!("../schemas/networking.istio.io_v1_ServiceEntry.json"),
    ),
    ("networking.istio.io_v1_Sidecar", include_str!("../schemas/networking.istio.io_v1_Sidecar.json")),
    (
        "networking.istio.io_v1_VirtualService",
        include_str!("../schemas/networking.istio.io_v1_VirtualService.json"),
    ),
    (
        "networking.istio.io_v1_WorkloadEntry",
        include_str!("../schemas/networking.istio.io_v1_WorkloadEntry.json"),
    ),
    (
        "networking.istio.io_v1_WorkloadGroup",
        include_str!("../schemas/networking.istio.io_v1_WorkloadGroup.json"),
    ),
    (
        "networking.istio.io_v1alpha3_EnvoyFilter",
        include_str!("../schemas/networking.istio.io_v1alpha3_EnvoyFilter.json"),
    ),
    (
        "networking.istio.io_v1beta1_ProxyConfig",
        include_str!("../schemas/networking.istio.io_v1beta1_ProxyConfig.json"),
    ),
    (
        "security.istio.io_v1_AuthorizationPolicy",
        include_str!("../schemas/security.istio.io_v1_AuthorizationPolicy.json"),
    ),
    (
        "security.istio.io_v1_PeerAuthentication",
        include_str!("../schemas/security.istio.io_v1_PeerAuthentication.json"),
    ),
    (
        "security.istio.io_v1_RequestAuthentication",
        include_str!("../schemas/security.istio.io_v1_RequestAuthentication.json"),
    ),
    ("skupper.io_v2alpha1_AccessGrant", include_str!("../schemas/skupper.io_v2alpha1_AccessGrant.json")),
    ("skupper.io_v2alpha1_AccessToken", include_str!("../schemas/skupper.io_v2alpha1_AccessToken.json")),
    (
        "skupper.io_v2alpha1_AttachedConnector",
        include_str!("../schemas/skupper.io_v2alpha1_AttachedConnector.json"),
    ),
    (
        "skupper.io_v2alpha1_AttachedConnectorBinding",
        include_str!("../schemas/skupper.io_v2alpha1_AttachedConnectorBinding.json"),
    ),
    ("skupper.io_v2alpha1_Certificate", include_str!("../schemas/skupper.io_v2alpha1_Certificate.json")),
    ("skupper.io_v2alpha1_Connector", include_str!("../schemas/skupper.io_v2alpha1_Connector.json")),
    ("skupper.io_v2alpha1_Link", include_str!("../schemas/skupper.io_v2alpha1_Link.json")),
    ("skupper.io_v2alpha1_Listener", include_str!("../schemas/skupper.io_v2alpha1_Listener.json")),
    (
        "skupper.io_v2alpha1_MultiKeyListener",
        include_str!("../schemas/skupper.io_v2alpha1_MultiKeyListener.json"),
    ),
    ("skupper.io_v2alpha1_RouterAccess", include_str!("../schemas/skupper.io_v2alpha1_RouterAccess.json")),
    ("skupper.io_v2alpha1_SecuredAccess", include_str!("../schemas/skupper.io_v2alpha1_SecuredAccess.json")),
    ("skupper.io_v2alpha1_Site", include_str!("../schemas/skupper.io_v2alpha1_Site.json")),
    ("telemetry.istio.io_v1_Telemetry", include_str!("../schemas/telemetry.istio.io_v1_Telemetry.json")),
];

static SCHEMAS: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
    let read = |text: &str| Some(serde_json::from_str::<Value>(text).ok()?.get_mut("schema")?.take());
    FILES.iter().filter_map(|(name, text)| Some((*name, read(text)?))).collect()
});

/// The schema of a kind, where it is known. Istio's versions of one group differ in nothing, so that of another version
/// does as well.
pub(crate) fn of(group: &str, version: &str, kind: &str) -> Option<&'static Value> {
    let exact = SCHEMAS.get([group, version, kind].join("_").as_str());
    exact.or_else(|| {
        let (start, end) = (format!("{group}_"), format!("_{kind}"));
        let istio = group.ends_with(".istio.io");
        SCHEMAS
            .iter()
            .find(|(name, _)| istio && name.starts_with(&start) && name.ends_with(&end))
            .map(|(_, s)| s)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_schema() {
        assert_eq!(SCHEMAS.len(), FILES.len());
        assert!(of("security.istio.io", "v1beta1", "AuthorizationPolicy").is_some());
        assert!(of("apps", "v1", "Deployment").is_none());
    }
}
