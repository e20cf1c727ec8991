//! The documents of an image layout, as far as images have them here: the OCI image specification, version 1.1.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a blob is.
pub(crate) mod media_type {
    pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
    pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Both by which Istio and other proxies know a filter.
    pub(crate) const WASM_CONFIGURATION: &str = "application/vnd.module.wasm.config.v1+json";
    pub(crate) const WASM_MODULE: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
}

/// Annotations and labels. They are sorted, so that a document has one digest.
pub(crate) type Labels = BTreeMap<&'static str, String>;

/// Names of labels.
pub(crate) mod label {
    pub(crate) const CREATED: &str = "org.opencontainers.image.created";
    pub(crate) const DESCRIPTION: &str = "org.opencontainers.image.description";
    pub(crate) const LICENSES: &str = "org.opencontainers.image.licenses";
    pub(crate) const REVISION: &str = "org.opencontainers.image.revision";
    pub(crate) const TITLE: &str = "org.opencontainers.image.title";
    pub(crate) const VERSION: &str = "org.opencontainers.image.version";
}

/// Where a blob is, and what it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: &'static str,
    pub(crate) digest: String,
    pub(crate) size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub(crate) annotations: Labels,
}

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Machine {
    /// What images call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What rustc calls it, for the programs of images.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

/// The one system that images are for, on a kind of machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Platform {
    pub(crate) architecture: Machine,
    pub(crate) os: &'static str,
}

/// An image for each kind of machine; or the one image of a layout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u8,
    pub(crate) media_type: &'static str,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub(crate) annotations: Labels,
}

/// What an image consists of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u8,
    pub(crate) media_type: &'static str,
    /// What it is, if it is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<&'static str>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: Labels,
}

/// How an image is run.
#[derive(Debug, Serialize)]
pub(crate) struct Configuration {
    pub(crate) created: String,
    #[serde(flatten)]
    pub(crate) platform: Platform,
    pub(crate) config: Run,
    pub(crate) rootfs: RootFs,
}

/// What is run, and by whom.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    pub(crate) user: String,
    pub(crate) entrypoint: [&'static str; 1],
    pub(crate) cmd: [&'static str; 3],
    pub(crate) env: [&'static str; 1],
    pub(crate) exposed_ports: BTreeMap<&'static str, Empty>,
    pub(crate) working_dir: String,
    pub(crate) labels: Labels,
}

/// What stands for "yes" in a set.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}

/// The archives that an image's file system is laid of.
#[derive(Debug, Serialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) diff_ids: [String; 1],
}

/// The file that says that a folder is a layout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    pub(crate) image_layout_version: &'static str,
}
