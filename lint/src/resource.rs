//! A Kubernetes resource, and where it came from.

use std::sync::Arc;

use crate::node::{Node, NotYaml};

/// The annotation that silences rules at a resource: lines of a code and the reason.
pub const IGNORE: &str = "portcullis.dev/lint-ignore";

/// A resource of a file.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// All of it.
    pub node: Node,
}

impl Resource {
    /// All resources of a text; those of a `List` one by one. What has no `kind` is no resource.
    ///
    /// # Errors
    /// What is no YAML.
    pub fn read(file: &str, text: &str) -> Result<Vec<Self>, NotYaml> {
        let file: Arc<str> = file.into();
        let documents = Node::documents(text)?;
        let nodes = documents.into_iter().flat_map(|node| match node.text_at("kind") {
            "List" => node.list_at("items").to_vec(),
            _ => vec![node],
        });
        let resources = nodes.filter(|node| !node.text_at("kind").is_empty());
        Ok(resources.map(|node| Self { file: file.clone(), node }).collect())
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.node.text_at("kind")
    }

    /// The group of its API; empty for the core of Kubernetes.
    #[must_use]
    pub fn group(&self) -> &str {
        self.node.text_at("apiVersion").rsplit_once('/').map(|(group, _)| group).unwrap_or_default()
    }

    /// Its namespace; `default` where it names none, as for whoever applies it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self.node.text_at("metadata.namespace") {
            "" => "default",
            namespace => namespace,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.text_at("metadata.name")
    }

    /// `KIND NAMESPACE/NAME`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind(), self.namespace(), self.name())
    }

    /// The annotation that silences rules here.
    #[must_use]
    pub fn silencer(&self) -> Option<&Node> {
        self.node.at("metadata.annotations")?.get(IGNORE)
    }

    /// What is silenced here: codes of rules, each with the reason, which is empty where nobody gave one.
    pub fn silenced(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.silencer().and_then(Node::text).unwrap_or_default().lines().map(str::trim);
        let pair = |line| str::split_once(line, ' ').map_or((line, ""), |(code, why)| (code, why.trim()));
        lines.filter(|line| !line.is_empty()).map(pair)
    }

    /// Whether a rule is silenced here, with a reason.
    #[must_use]
    pub fn silences(&self, rule: &str) -> bool {
        self.silenced().any(|(code, why)| code == rule && !why.is_empty())
    }
}
