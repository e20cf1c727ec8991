//! Our own manifests by the rules that operators' are held to.

use portcullis_lint::lint;
use portcullis_lint::report::text;
use portcullis_lint::resource::Resource;

use crate::rendered::{OVERLAYS, built};

#[test]
fn no_overlay_has_a_finding() {
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        let resources = Resource::read(overlay, rendered.text()).unwrap();
        assert_eq!(resources.len(), rendered.resources().len(), "{overlay}");
        let found = lint(resources);
        assert!(found.list().is_empty(), "{}", text(&found.list()));
    }
}
