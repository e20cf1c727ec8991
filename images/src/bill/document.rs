//! The document: CycloneDX 1.6 as JSON, as far as bills have it here.

use std::collections::BTreeSet;

use serde::Serialize;

/// What a bill of materials is, to a registry and to who reads it.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

pub(super) const SCHEMA: &str = "http://cyclonedx.org/schema/bom-1.6.schema.json";

/// The whole of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "$schema")]
    pub(super) schema: &'static str,
    pub(super) bom_format: &'static str,
    pub(super) spec_version: &'static str,
    pub(super) serial_number: String,
    pub(super) version: u8,
    pub(super) metadata: About,
    pub(super) components: Vec<Component>,
    pub(super) dependencies: Vec<Uses>,
}

/// What it is about.
#[derive(Debug, Serialize)]
pub(super) struct About {
    pub(super) timestamp: String,
    pub(super) lifecycles: [Lifecycle; 1],
    pub(super) tools: Tools,
    pub(super) component: Component,
}

/// When it was made.
#[derive(Debug, Serialize)]
pub(super) struct Lifecycle {
    pub(super) phase: &'static str,
}

/// What made it.
#[derive(Debug, Serialize)]
pub(super) struct Tools {
    pub(super) components: [Component; 1],
}

/// Something that is in an image; or the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Component {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(rename = "bom-ref")]
    pub(super) reference: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) licenses: Vec<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) properties: Vec<Property>,
}

/// A digest of its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Hash {
    pub(super) alg: &'static str,
    pub(super) content: String,
}

/// An expression of SPDX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct License {
    pub(super) expression: String,
}

/// What CycloneDX has no member for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// What a component needs.
#[derive(Debug, Serialize)]
pub(super) struct Uses {
    #[serde(rename = "ref")]
    pub(super) reference: String,
    #[serde(rename = "dependsOn")]
    pub(super) depends_on: BTreeSet<String>,
}

impl Component {
    /// One of which no more is known than its name.
    pub(super) fn new(kind: &'static str, reference: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            reference: reference.into(),
            name: name.into(),
            version: None,
            description: None,
            hashes: Vec::new(),
            licenses: Vec::new(),
            cpe: None,
            purl: None,
            properties: Vec::new(),
        }
    }

    pub(super) fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    pub(super) fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    pub(super) fn license(mut self, expression: impl Into<String>) -> Self {
        self.licenses = vec![License { expression: expression.into() }];
        self
    }

    /// What databases of vulnerabilities call it: vendor and product.
    pub(super) fn known_as(mut self, vendor: &str, product: &str, version: &str) -> Self {
        self.cpe = Some(["cpe:2.3:a:", vendor, ":", product, ":", version, ":*:*:*:*:*:*:*"].concat());
        self
    }
}
