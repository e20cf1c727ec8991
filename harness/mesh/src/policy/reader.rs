//! A file as its author wrote it: read member by member, with the line of everything that is wrong.

use std::fmt::{Display, Formatter};

use portcullis_lint::node::{Entry, Node, Value};

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to write.
    pub problem: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

/// All that is wrong in one file.
pub(super) struct Mistakes {
    file: String,
    found: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn of(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    pub(super) fn note(&mut self, line: usize, problem: impl Into<String>) {
        self.found.push(Mistake { file: self.file.clone(), line, problem: problem.into() });
    }

    pub(super) fn into_list(self) -> Vec<Mistake> {
        self.found
    }
}

/// A mapping whose members are known by name.
pub(super) struct Fields<'a> {
    name: String,
    node: &'a Node,
}

impl<'a> Fields<'a> {
    /// Notes every member that is none of those.
    pub(super) fn of(node: &'a Node, name: &str, known: &[&str], mistakes: &mut Mistakes) -> Option<Self> {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            mistakes.note(node.line, format!("{name}: write a mapping with members of {}", known.join(", ")));
            return None;
        }
        for entry in node.members().iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let known = known.join(", ");
            let problem = format!("{name} has no member {:?}; it may have {known}", entry.key);
            mistakes.note(entry.node.line, problem);
        }
        Some(Self { name: name.to_owned(), node })
    }

    /// Where the mapping stands.
    pub(super) fn line(&self) -> usize {
        self.node.line
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.get(key)
    }

    pub(super) fn name_of(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    pub(super) fn fields(&self, key: &str, known: &[&str], mistakes: &mut Mistakes) -> Option<Self> {
        Self::of(self.get(key)?, &self.name_of(key), known, mistakes)
    }

    /// The members of a mapping whose names are read elsewhere. What is none would have none, whatever it says.
    pub(super) fn members(&self, key: &str, of: &str, mistakes: &mut Mistakes) -> &'a [Entry] {
        let Some(node) = self.get(key) else { return &[] };
        if !matches!(node.value, Value::Map(_)) {
            mistakes.note(node.line, format!("{}: write a mapping of {of}", self.name_of(key)));
        }
        node.members()
    }

    pub(super) fn text(&self, key: &str, mistakes: &mut Mistakes) -> Option<String> {
        let node = self.get(key)?;
        let text = text(node);
        if text.is_none() {
            mistakes.note(node.line, format!("{}: write text, numbers in quotes", self.name_of(key)));
        }
        text
    }

    /// Notes that the member is missing.
    pub(super) fn needed_text(&self, key: &str, mistakes: &mut Mistakes) -> Option<String> {
        if self.get(key).is_none() {
            mistakes.note(self.line(), format!("{} is missing", self.name_of(key)));
        }
        self.text(key, mistakes)
    }

    pub(super) fn texts(&self, key: &str, mistakes: &mut Mistakes) -> Vec<String> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let texts: Option<Vec<_>> = match &node.value {
            Value::List(items) => items.iter().map(text).collect(),
            _ => None,
        };
        if texts.is_none() {
            mistakes.note(node.line, format!("{}: write a list of texts", self.name_of(key)));
        }
        texts.unwrap_or_default()
    }

    /// The value that a word stands for.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], mistakes: &mut Mistakes) -> Option<T> {
        word(self.get(key)?, &self.name_of(key), words, mistakes)
    }

    pub(super) fn status(&self, mistakes: &mut Mistakes) -> Option<u16> {
        let node = self.get("status")?;
        let status = node.int().and_then(|n| u16::try_from(n).ok()).filter(|n| (100..600).contains(n));
        if status.is_none() {
            mistakes.note(node.line, format!("{}: write a status from 100 to 599", self.name_of("status")));
        }
        status
    }

    /// The members of a mapping of texts, or of lists of them, in their order.
    pub(super) fn pairs(&self, key: &str, mistakes: &mut Mistakes) -> Vec<(String, String)> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let name = self.name_of(key);
        if !matches!(node.value, Value::Map(_)) {
            mistakes.note(node.line, format!("{name}: write a mapping of names to texts"));
        }
        let mut pairs = Vec::new();
        for entry in node.members() {
            let values = match &entry.node.value {
                Value::List(items) => items.as_slice(),
                _ => std::slice::from_ref(&entry.node),
            };
            for value in values {
                match text(value) {
                    Some(text) => pairs.push((entry.key.clone(), text)),
                    None => mistakes.note(
                        value.line,
                        format!("{name}.{}: write text, or a list of texts; numbers in quotes", entry.key),
                    ),
                }
            }
        }
        pairs
    }
}

fn text(node: &Node) -> Option<String> {
    node.text().map(str::to_owned)
}

/// The value that a word stands for; notes those that may stand there.
pub(super) fn word<T: Copy>(
    node: &Node,
    name: &str,
    words: &[(&str, T)],
    mistakes: &mut Mistakes,
) -> Option<T> {
    let said = node.text().unwrap_or_default();
    let found = words.iter().find(|(word, _)| *word == said);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        mistakes.note(node.line, format!("{name}: write one of {}", known.join(", ")));
    }
    found.map(|(_, value)| *value)
}
