//! `components/native-gateway`: the filters of the local mesh's native gateway, and nothing of the Wasm module beside them.

use portcullis_lint::lint;
use portcullis_lint::report::text;
use portcullis_lint::resource::Resource;
use portcullis_mesh::target;
use serde_json::Value;

use crate::is_taken;
use crate::rendered::{OVERLAYS, Rendered, Settings, built};

const PLUGINS: [&str; 2] = ["portcullis-gateway", "portcullis-gateway-mesh"];
const MODULE: &str = "registry.filled.example.net/portcullis/native@sha256:\
                      00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The overlays with a gateway.
fn overlays() -> impl Iterator<Item = &'static str> {
    OVERLAYS.into_iter().filter(|overlay| overlay.starts_with("overlays/"))
}

fn native(settings: Settings) -> Rendered {
    let settings = settings.with("nativeModule", MODULE).with_last_component("native-gateway");
    settings.build().unwrap_or_else(|error| panic!("{error}"))
}

fn config_of_the_proxy(rendered: &Rendered) -> Value {
    let gateway = rendered.named("Deployment", "api-gateway");
    let text = gateway["spec"]["template"]["metadata"]["annotations"]["proxy.istio.io/config"].as_str();
    serde_norway::from_str(text.unwrap()).unwrap()
}

/// So `make demo NATIVE=1` and the scenario at a native gateway try what this component applies.
#[test]
fn the_filters_are_those_that_the_local_mesh_makes_of_the_plugins() {
    for overlay in overlays() {
        let (wasm, native) = (built(overlay), native(Settings::filled(overlay)));
        for name in PLUGINS {
            assert!(native.all("WasmPlugin", name).is_empty(), "{overlay}: {name}");
            let made = target::native(&wasm.named("WasmPlugin", name));
            assert_eq!(native.named("EnvoyFilter", name), made, "{overlay}: {name}");
        }
    }
}

#[test]
fn a_native_gateway_is_one_that_the_api_server_and_istio_take_and_has_no_finding() {
    for overlay in overlays() {
        let rendered = native(Settings::filled(overlay));
        is_taken(&rendered, overlay);
        let found = lint(Resource::read(overlay, rendered.text()).unwrap());
        assert!(found.list().is_empty(), "{}", text(&found.list()));
    }
}

#[test]
fn the_gateway_has_the_file_and_what_else_it_was_told_before() {
    let told = Settings::filled("overlays/prod")
        .with_component("http-proxy-in-front")
        .with("proxyCidr", "192.0.2.0/28");
    let rendered = native(told);
    let config = config_of_the_proxy(&rendered);
    let flag = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
    assert_eq!(config["runtimeValues"][flag], "true");
    assert_eq!(config["terminationDrainDuration"], "45s");
    assert_eq!(config["gatewayTopology"]["numTrustedProxies"], 1);
    let pod = &rendered.named("Deployment", "api-gateway")["spec"]["template"]["spec"];
    let named = |list: &str, name: &str| {
        let all = pod.pointer(list).unwrap().as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {all:?}")).clone()
    };
    assert_eq!(named("/volumes", "portcullis-native")["image"]["reference"], MODULE);
    let folder = named("/containers/0/volumeMounts", "portcullis-native")["mountPath"].clone();
    let searched = named("/containers/0/env", "ENVOY_DYNAMIC_MODULES_SEARCH_PATH");
    assert_eq!(searched["value"], folder);
}

#[test]
fn a_native_gateway_without_its_module_is_not_built() {
    let settings = Settings::filled("overlays/prod").with_last_component("native-gateway");
    let said = settings.build().unwrap_err();
    assert!(said.contains("`data.nativeModule` is missing"), "{said}");
}

/// While the file is rolled out, the plugins are what they were.
#[test]
fn the_file_alone_changes_no_filter() {
    let settings = Settings::filled("overlays/prod").with("nativeModule", MODULE);
    let rendered = settings.with_last_component("native-gateway/module").build().unwrap();
    for name in PLUGINS {
        assert_eq!(rendered.named("WasmPlugin", name), built("overlays/prod").named("WasmPlugin", name));
        assert!(rendered.all("EnvoyFilter", name).is_empty(), "{name}");
    }
}
