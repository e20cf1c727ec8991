//! YAML with the line of everything in it.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::Value as Json;

/// A value in a YAML document, and the line on which it stands (of a member of a mapping: the line of its key).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order in which it is written.
    Map(Vec<Entry>),
}

/// A member of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Its value.
    pub node: Node,
}

/// A text that is no YAML.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{line}: {problem}")]
pub struct NotYaml {
    /// Counted from 1.
    pub line: usize,
    /// What the parser met there.
    pub problem: String,
}

impl Node {
    /// All documents of a text, but for empty ones.
    ///
    /// # Errors
    /// What is no YAML 1.2, names a member twice, or has a key that is no text.
    pub fn documents(text: &str) -> Result<Vec<Self>, NotYaml> {
        let documents = MarkedYaml::load_from_str(text)
            .map_err(|e| NotYaml { line: e.marker().line(), problem: e.info().to_owned() })?;
        let nodes: Result<Vec<Self>, NotYaml> = documents.iter().map(Self::read).collect();
        Ok(nodes?.into_iter().filter(|node| node.value != Value::Null).collect())
    }

    fn read(yaml: &MarkedYaml<'_>) -> Result<Self, NotYaml> {
        let line = yaml.span.start.line();
        let bad = |problem: &str| NotYaml { line, problem: problem.to_owned() };
        let value = match &yaml.data {
            YamlData::Value(scalar) => Self::scalar(scalar),
            YamlData::Sequence(items) => Value::List(items.iter().map(Self::read).collect::<Result<_, _>>()?),
            YamlData::Mapping(members) => Value::Map(
                members.iter().map(|(key, value)| Self::member(key, value)).collect::<Result<_, _>>()?,
            ),
            YamlData::Tagged(_, node) => Self::read(node)?.value,
            YamlData::Representation(text, ..) => Value::Text(text.clone().into_owned()),
            YamlData::Alias(_) | YamlData::BadValue => return Err(bad("a value that cannot be read")),
        };
        Ok(Self { line, value })
    }

    fn scalar(scalar: &Scalar<'_>) -> Value {
        match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(b) => Value::Bool(*b),
            Scalar::Integer(n) => Value::Int(*n),
            Scalar::FloatingPoint(n) => Value::Float(n.into_inner()),
            Scalar::String(text) => Value::Text(text.clone().into_owned()),
        }
    }

    fn member(key: &MarkedYaml<'_>, value: &MarkedYaml<'_>) -> Result<Entry, NotYaml> {
        let line = key.span.start.line();
        let key = match &key.data {
            YamlData::Value(Scalar::String(text)) => text.clone().into_owned(),
            YamlData::Value(Scalar::Integer(n)) => n.to_string(),
            _ => return Err(NotYaml { line, problem: "a key that is no text".to_owned() }),
        };
        Ok(Entry { key, node: Self { line, ..Self::read(value)? } })
    }

    /// The member at a path of names with dots between them; none of the names may have a dot itself.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.get(key))
    }

    /// The member of this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The text at a path; empty where there is none.
    #[must_use]
    pub fn text_at(&self, path: &str) -> &str {
        self.at(path).and_then(Self::text).unwrap_or_default()
    }

    /// The items of the list at a path; none where there is no list.
    #[must_use]
    pub fn list_at(&self, path: &str) -> &[Self] {
        self.at(path).map(Self::items).unwrap_or_default()
    }

    /// This text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// This whole number.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match &self.value {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The items of a list; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The members of a mapping; none of anything else.
    #[must_use]
    pub fn members(&self) -> &[Entry] {
        match &self.value {
            Value::Map(members) => members,
            _ => &[],
        }
    }

    /// Whether it is a mapping or a list with nothing in it, or nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(members) => members.is_empty(),
            _ => false,
        }
    }

    /// The same without lines.
    #[must_use]
    pub fn json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            Value::Float(n) => Json::from(*n),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Map(members) => {
                Json::Object(members.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect())
            }
        }
    }

    /// The line of the deepest member on a path that is there: `spec.pluginConfig.mode`, `spec.match[0].mode`.
    #[must_use]
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let next = step.parse::<usize>().ok().and_then(|index| node.items().get(index));
            let Some(next) = next.or_else(|| node.get(step)) else { break };
            node = next;
        }
        node.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a:\n  b: [1, two]\n  c:\n  - d: true\n    e: 1.5\n---\n---\nf:\n";

    #[test]
    fn everything_has_its_line() {
        let documents = Node::documents(TEXT).unwrap();
        assert_eq!(documents.len(), 2, "an empty document is none");
        let first = &documents[0];
        assert_eq!(first.at("a.b").unwrap().line, 2);
        assert_eq!(first.line_of("a.c[0].e"), 5);
        assert_eq!(first.line_of("a.c[0].missing"), 4, "the deepest that is there");
        assert_eq!(first.list_at("a.b")[1].text(), Some("two"));
        assert_eq!(documents[1].at("f").unwrap().line, 8);
        assert_eq!(first.json(), serde_json::json!({"a": {"b": [1, "two"], "c": [{"d": true, "e": 1.5}]}}));
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        let told = |text: &str| Node::documents(text).unwrap_err();
        assert_eq!(told("a: 1\nb: [1,\n").line, 3);
        assert_eq!(told("a: 1\na: 2\n").line, 2, "twice the same");
        assert_eq!(told("a: 1\n[1]: 2\n").problem, "a key that is no text");
    }

    #[test]
    fn anchors_are_filled_in() {
        let document = &Node::documents("a: &ports\n- \"1\"\nb: *ports\n").unwrap()[0];
        assert_eq!(document.list_at("b")[0].text(), Some("1"));
        assert_eq!(document.at("b").unwrap().line, 3);
    }
}
