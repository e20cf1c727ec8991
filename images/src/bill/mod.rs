//! The bill of materials of an image (SBOM): what is in it, and nothing else of the workspace. It lies beside the image's
//! layout, and as an artifact that refers to the image, which a registry finds by the image's digest.

mod compiled;
mod document;
mod graph;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};

use crate::document::{Descriptor, Manifest, label, media_type};
use crate::error::ImageError;
use crate::layer::sha256;
use crate::layout::{Blobs, Image, Layout};
use crate::origin::Origin;

use document::{About, Component, Document, Lifecycle, MEDIA_TYPE, Property, SCHEMA, Tools, Uses};

pub use compiled::Compiled;
pub use graph::Graph;
pub use parts::Parts;

/// The bill of one image.
#[derive(Debug)]
pub struct Bill {
    content: Vec<u8>,
    artifact: Layout,
    /// What tells it from those of the other images of its layout.
    machine: Option<&'static str>,
}

impl Bill {
    /// The bill of an image of a layout, for what is in it. It has the time of the commit and a number that follows from
    /// the image's digest: two builds have one.
    ///
    /// # Errors
    /// When a document is no JSON.
    pub fn new(image: &Image<'_>, parts: Parts, origin: &Origin) -> Result<Self, ImageError> {
        let machine = image.machine().map(|machine| machine.name());
        let title = image.title();
        let subject = image.descriptor();
        let content = serde_json::to_vec_pretty(&document(title, &subject, machine, parts, origin))?;
        let mut blobs = Blobs::default();
        let layer = blobs.add(MEDIA_TYPE, content.clone());
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST,
            artifact_type: Some(MEDIA_TYPE),
            // Of the same type as the artifact: registries that know no artifacts go by it, and so does what pushes to
            // them.
            config: blobs.add(MEDIA_TYPE, b"{}".to_vec()),
            layers: vec![layer],
            subject: Some(subject),
            annotations: origin
                .labels(&[title, ".cdx.json"].concat(), "The bill of materials of an image (SBOM)"),
        };
        let artifact = blobs.document(media_type::MANIFEST, &manifest)?;
        Ok(Self { content, artifact: Layout::new(blobs, title, artifact, Vec::new()), machine })
    }

    /// The document: CycloneDX 1.6 as JSON.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The artifact that refers to the image.
    #[must_use]
    pub fn artifact(&self) -> &Layout {
        &self.artifact
    }

    /// Writes both beside the folder of the image's layout, and returns the path of the document: `FOLDER.cdx.json` and
    /// `FOLDER.sbom`, with the kind of machine after the folder's name where there is one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, layout: &Path) -> Result<PathBuf, ImageError> {
        let path = |end: &str| {
            let mut name = layout.as_os_str().to_owned();
            for part in self.machine.into_iter().chain([end]) {
                name.push(".");
                name.push(part);
            }
            PathBuf::from(name)
        };
        self.artifact.write(&path("sbom"))?;
        let file = path("cdx.json");
        fs::write(&file, &self.content).map_err(ImageError::file(&file))?;
        Ok(file)
    }
}

fn document(
    title: &str,
    image: &Descriptor,
    machine: Option<&str>,
    parts: Parts,
    origin: &Origin,
) -> Document {
    let Parts { components, uses, roots } = parts;
    let version = env!("CARGO_PKG_VERSION");
    let mut about =
        Component::new("container", "image", title).version(version).license(env!("CARGO_PKG_LICENSE"));
    let architecture = machine.map(|machine| ["?arch=", machine].concat()).unwrap_or_default();
    about.purl = Some(["pkg:oci/", title, "@", &image.digest.replace(':', "%3A"), &architecture].concat());
    about.properties = vec![Property { name: label::REVISION, value: origin.revision().to_owned() }];
    let tool = Component::new("application", "portcullis-images", "portcullis-images").version(version);
    // Who needs nothing says so: what is not named here would be unknown.
    let mut dependencies = vec![Uses { reference: about.reference.clone(), depends_on: roots }];
    dependencies.extend(components.keys().map(|reference| Uses {
        reference: reference.clone(),
        depends_on: uses.get(reference).cloned().unwrap_or_default(),
    }));
    Document {
        schema: SCHEMA,
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: serial_number(&image.digest),
        version: 1,
        metadata: About {
            timestamp: origin.created().to_owned(),
            lifecycles: [Lifecycle { phase: "build" }],
            tools: Tools { components: [tool] },
            component: about,
        },
        components: components.into_values().collect(),
        dependencies,
    }
}

/// A UUID (RFC 9562, version 8) that follows from a digest.
fn serial_number(digest: &str) -> String {
    let hex = sha256(digest.as_bytes());
    let (time, rest) = (&hex[..12], &hex[12..]);
    format!("urn:uuid:{}-{}-8{}-8{}-{}", &time[..8], &time[8..], &rest[..3], &rest[3..6], &rest[6..18])
}
