//! The programs that read what is rendered: the filter, the control service. `tunnel.rs` has the Envoys.

use portcullis_control_config::Config;
use portcullis_plugin_check as check;

use crate::rendered::{OVERLAYS, built};

#[test]
fn every_plugin_is_one_that_the_filter_takes() {
    let mut checked = 0;
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        for plugin in rendered.resources().iter().filter(|resource| check::is_plugin(resource)) {
            let errors: Vec<_> = check::errors(plugin).iter().map(ToString::to_string).collect();
            assert!(errors.is_empty(), "{overlay}, {}: {errors:#?}", check::name(plugin));
            let url = plugin["spec"]["url"].as_str().unwrap();
            assert!(url.starts_with("oci://") && url.contains("@sha256:"), "{overlay}: {url} is not pinned");
            checked += 1;
        }
    }
    assert!(checked >= 6, "only {checked} plugins");
}

#[test]
fn the_control_service_takes_its_configuration_and_knows_the_gateway() {
    for overlay in ["overlays/dev", "overlays/staging", "overlays/prod"] {
        let rendered = built(overlay);
        let map = rendered.named("ConfigMap", "portcullis-control");
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("mesh-token"), "0123456789abcdef0123456789abcdef").unwrap();
        let text = map["data"]["control.yaml"].as_str().unwrap();
        let gateway = &rendered.named("Deployment", "api-gateway");
        let account = gateway["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        let id = format!("/ns/{}/sa/{account}", gateway["metadata"]["namespace"].as_str().unwrap());
        assert!(text.contains(&format!("spiffe://cluster.local{id}\n")), "{overlay}: {text}");
        for policy in ["mesh-api", "from-ingress", "platform-endpoints"] {
            let policies = rendered.all("AuthorizationPolicy", policy);
            let at_us: Vec<_> =
                policies.iter().filter(|policy| policy["metadata"]["namespace"] == "portcullis").collect();
            assert_eq!(at_us.len(), 1, "{overlay}: {policy}");
            let principals = &at_us[0]["spec"]["rules"][0]["from"][0]["source"]["principals"];
            assert_eq!(principals[0], format!("cluster.local{id}"), "{overlay}: {policy}");
        }
        let text = text.replace("/run/secrets/portcullis", &secrets.path().to_string_lossy());
        let file = secrets.path().join("control.yaml");
        if let Err(error) = Config::parse(&file, &text) {
            panic!("{overlay}: {error}");
        }
    }
}
