//! Our own manifests by the rules that operators' are held to.

use portcullis_lint::lint;
use portcullis_lint::report::text;
use portcullis_lint::resource::Resource;

use crate::rendered::{OVERLAYS, Rendered, Settings, built};

#[test]
fn no_overlay_has_a_finding() {
    for overlay in OVERLAYS {
        nothing_is_found(overlay, built(overlay));
    }
}

pub(crate) fn nothing_is_found(name: &str, rendered: &Rendered) {
    let resources = Resource::read(name, rendered.text()).unwrap();
    assert_eq!(resources.len(), rendered.resources().len(), "{name}");
    let found = lint(resources);
    assert!(found.list().is_empty(), "{}", text(&found.list()));
}

/// What replaces the gateway's plugins says the same.
#[test]
fn traffic_extensions_guard_what_the_plugins_guarded() {
    for overlay in ["overlays/dev", "overlays/staging", "overlays/prod"] {
        let rendered = Settings::filled(overlay).below("traffic-extension").build().unwrap();
        rendered.conform().unwrap();
        nothing_is_found(overlay, &rendered);
        for plugin in built(overlay).resources().iter().filter(|one| one["kind"] == "WasmPlugin") {
            let mut said = rendered.named("TrafficExtension", plugin["metadata"]["name"].as_str().unwrap());
            assert_eq!(said["metadata"], plugin["metadata"], "{overlay}");
            let module = said["spec"].as_object_mut().unwrap().remove("wasm").unwrap();
            said["spec"].as_object_mut().unwrap().extend(module.as_object().unwrap().clone());
            assert_eq!(said["spec"], plugin["spec"], "{overlay}");
        }
        assert!(!rendered.text().contains("kind: WasmPlugin"), "{overlay}");
    }
}
