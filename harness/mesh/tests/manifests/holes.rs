//! Our own manifests by the rules that operators' are held to.

use portcullis_lint::lint;
use portcullis_lint::report::text;
use portcullis_lint::resource::Resource;

use crate::rendered::{OVERLAYS, Settings};

#[test]
fn no_overlay_has_a_finding() {
    for overlay in OVERLAYS {
        let rendered = Settings::filled(overlay).build().unwrap_or_else(|error| panic!("{overlay}: {error}"));
        let resources = Resource::read(overlay, rendered.text()).unwrap();
        assert_eq!(resources.len(), rendered.resources().len(), "{overlay}");
        let found = lint(resources);
        assert!(found.list().is_empty(), "{}", text(&found.list()));
    }
}
