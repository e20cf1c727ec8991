//! The fields that kinds have: structural schemas of the custom resources, without their descriptions.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../schemas/", $name, ".json")))),*]
    };
}

/// `GROUP_VERSION_KIND` and the schema.
const FILES: &[(&str, &str)] = files![
    "cert-manager.io_v1_Certificate"
    "cert-manager.io_v1_ClusterIssuer"
    "cert-manager.io_v1_Issuer"
    "extensions.istio.io_v1alpha1_TrafficExtension"
    "extensions.istio.io_v1alpha1_WasmPlugin"
    "monitoring.coreos.com_v1_PodMonitor"
    "monitoring.coreos.com_v1_PrometheusRule"
    "monitoring.coreos.com_v1_ServiceMonitor"
    "networking.istio.io_v1_DestinationRule"
    "networking.istio.io_v1_Gateway"
    "networking.istio.io_v1_ServiceEntry"
    "networking.istio.io_v1_Sidecar"
    "networking.istio.io_v1_VirtualService"
    "networking.istio.io_v1_WorkloadEntry"
    "networking.istio.io_v1_WorkloadGroup"
    "networking.istio.io_v1alpha3_EnvoyFilter"
    "networking.istio.io_v1beta1_ProxyConfig"
    "security.istio.io_v1_AuthorizationPolicy"
    "security.istio.io_v1_PeerAuthentication"
    "security.istio.io_v1_RequestAuthentication"
    "skupper.io_v2alpha1_AccessGrant"
    "skupper.io_v2alpha1_AccessToken"
    "skupper.io_v2alpha1_AttachedConnector"
    "skupper.io_v2alpha1_AttachedConnectorBinding"
    "skupper.io_v2alpha1_Certificate"
    "skupper.io_v2alpha1_Connector"
    "skupper.io_v2alpha1_Link"
    "skupper.io_v2alpha1_Listener"
    "skupper.io_v2alpha1_MultiKeyListener"
    "skupper.io_v2alpha1_RouterAccess"
    "skupper.io_v2alpha1_SecuredAccess"
    "skupper.io_v2alpha1_Site"
    "telemetry.istio.io_v1_Telemetry"
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
