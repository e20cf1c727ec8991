//! The OCI image layout: a folder of blobs that are named by their digests, and an index of one entry.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::document::{Descriptor, Index, Labels, Machine, Marker, media_type};
use crate::error::ImageError;
use crate::layer::digest;

/// An image, or an index of images, with all that it consists of.
#[derive(Debug)]
pub struct Layout {
    blobs: Blobs,
    title: &'static str,
    image: Descriptor,
    /// Those of an index.
    images: Vec<Descriptor>,
}

/// One image of a layout.
#[derive(Debug)]
pub struct Image<'l> {
    title: &'static str,
    descriptor: &'l Descriptor,
}

impl Image<'_> {
    /// The kind of machine that it is for; `None` if it is for all.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        self.descriptor.platform.as_ref().map(|platform| platform.architecture)
    }

    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    /// By which others refer to it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor { platform: None, annotations: Labels::new(), ..self.descriptor.clone() }
    }
}

/// What a layout consists of, by digest.
#[derive(Debug, Default)]
pub(crate) struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds what is not a document.
    pub(crate) fn add(&mut self, media_type: &'static str, content: Vec<u8>) -> Descriptor {
        let digest = digest(&content);
        let size = content.len();
        self.0.insert(digest.clone(), content);
        Descriptor { media_type, digest, size, platform: None, annotations: Labels::new() }
    }

    /// Adds a document.
    pub(crate) fn document(
        &mut self,
        media_type: &'static str,
        document: &impl Serialize,
    ) -> Result<Descriptor, ImageError> {
        Ok(self.add(media_type, serde_json::to_vec(document)?))
    }
}

impl Layout {
    /// One of an index of images, or of one image, which has none.
    pub(crate) fn new(blobs: Blobs, title: &'static str, image: Descriptor, images: Vec<Descriptor>) -> Self {
        Self { blobs, title, image, images }
    }

    /// The images that are in it, without the index.
    pub fn images(&self) -> impl Iterator<Item = Image<'_>> {
        let images = if self.images.is_empty() { std::slice::from_ref(&self.image) } else { &self.images };
        images.iter().map(|descriptor| Image { title: self.title, descriptor })
    }

    /// What pins it: `sha256:` and the digest of the image or the index.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.image.digest
    }

    /// Writes it. What was in the folder before is gone then.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ImageError> {
        let staging = beside(folder);
        remove(&staging)?;
        let blobs = staging.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(ImageError::file(&blobs))?;
        for (digest, content) in &self.blobs.0 {
            write(blobs.join(digest.trim_start_matches("sha256:")), content)?;
        }
        write(staging.join("oci-layout"), &serde_json::to_vec(&Marker { image_layout_version: "1.0.0" })?)?;
        let index = Index {
            schema_version: 2,
            media_type: media_type::INDEX,
            manifests: vec![self.image.clone()],
            annotations: Labels::new(),
        };
        write(staging.join("index.json"), &serde_json::to_vec(&index)?)?;
        remove(folder)?;
        fs::rename(&staging, folder).map_err(ImageError::file(folder))
    }
}

/// Where a layout is written until it is whole.
fn beside(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn write(path: PathBuf, content: &[u8]) -> Result<(), ImageError> {
    fs::write(&path, content).map_err(ImageError::file(path))
}

fn remove(folder: &Path) -> Result<(), ImageError> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(ImageError::file(folder)) } else { Ok(()) }
}
