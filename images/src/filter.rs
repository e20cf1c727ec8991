//! The image of the filter, as Istio's agent pulls it: an artifact of two layers, of which one is the module as it is.

use serde_json::json;

use crate::document::{Descriptor, Manifest, label, media_type};
use crate::error::ImageError;
use crate::layout::{Blobs, Layout};
use crate::module::Module;
use crate::origin::Origin;

const TITLE: &str = "portcullis-filter";

/// The image of a filter. There is one for all kinds of machines: Istio's agent compares the digest that pins it with
/// that of the manifest, so an index would be refused.
///
/// # Errors
/// When a document of it is no JSON.
pub fn filter(module: &Module, origin: &Origin) -> Result<Layout, ImageError> {
    let mut blobs = Blobs::default();
    let what = json!({"type": "envoy_proxy", "abiVersions": [module.interface()], "config": {}});
    let config = blobs.document(media_type::WASM_CONFIGURATION, &what)?;
    let content = blobs.add(media_type::WASM_MODULE, module.content().to_vec());
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST,
        artifact_type: None,
        subject: None,
        layers: vec![named(&config, "runtime-config.json"), named(&content, "plugin.wasm")],
        config,
        annotations: origin.labels(TITLE, "The filter of Portcullis for Istio and Envoy"),
    };
    let image = blobs.document(media_type::MANIFEST, &manifest)?;
    Ok(Layout::new(blobs, TITLE, image, Vec::new()))
}

fn named(layer: &Descriptor, name: &str) -> Descriptor {
    Descriptor { annotations: [(label::TITLE, name.to_owned())].into(), ..layer.clone() }
}
