//! What was found, in the forms that people and machines read.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::rule::{Level, Place, Rule};
use crate::rules::RULES;

/// A finding.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// By which rule.
    pub rule: &'a Rule,
    /// Where.
    pub place: &'a Place,
}

fn level(rule: &Rule) -> &'static str {
    match rule.level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}

/// For people: one finding after the other with its reason and what to write.
#[must_use]
pub fn text(findings: &[Finding<'_>]) -> String {
    let mut out = String::new();
    for Finding { rule, place } in findings {
        let Place { file, line, resource, message } = place;
        let _ = writeln!(
            out,
            "{file}:{line}: {} {} [{}] {resource}: {message}",
            level(rule),
            rule.code,
            rule.name
        );
        let _ = writeln!(out, "    why: {}\n    fix: {}", rule.why, rule.fix);
    }
    out
}

/// One JSON object with a list of findings.
#[must_use]
pub fn json(findings: &[Finding<'_>]) -> Json {
    let one = |Finding { rule, place }: &Finding<'_>| {
        json!({
            "code": rule.code, "name": rule.name, "level": level(rule),
            "file": place.file, "line": place.line, "resource": place.resource, "message": place.message,
            "why": rule.why, "fix": rule.fix,
        })
    };
    json!({"findings": findings.iter().map(one).collect::<Vec<_>>()})
}

/// SARIF 2.1.0.
#[must_use]
pub fn sarif(findings: &[Finding<'_>]) -> Json {
    let rule = |rule: &Rule| {
        json!({
            "id": rule.code, "name": rule.name, "shortDescription": {"text": rule.name.replace('-', " ")},
            "fullDescription": {"text": rule.why}, "help": {"text": rule.fix}, "defaultConfiguration": {"level": level(rule)},
        })
    };
    let result = |Finding { rule, place }: &Finding<'_>| {
        json!({
            "ruleId": rule.code, "level": level(rule),
            "message": {"text": format!("{}: {}", place.resource, place.message)},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": place.file}, "region": {"startLine": place.line},
            }}],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "portcullis lint", "rules": RULES.iter().map(rule).collect::<Vec<_>>()}},
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// Commands of GitHub's workflows, which show as annotations.
#[must_use]
pub fn github(findings: &[Finding<'_>]) -> String {
    let mut out = String::new();
    for Finding { rule, place } in findings {
        let title = format!("{} {}", rule.code, rule.name);
        let message = format!("{}: {}. {}", place.resource, place.message, rule.fix);
        let (file, title) = (property(&place.file), property(&title));
        let _ = writeln!(
            out,
            "::{} file={file},line={},title={title}::{}",
            level(rule),
            place.line,
            escaped(&message)
        );
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

/// The page that describes every rule: `portcullis lint --rules`.
#[must_use]
pub fn document() -> String {
    let mut out = String::from(HEAD);
    for Rule { code, name, .. } in RULES {
        let _ = writeln!(out, "| [{code}](#{}-{name}) | {} |", code.to_lowercase(), name.replace('-', " "));
    }
    for rule in RULES {
        let Rule { code, name, why, fix, .. } = rule;
        let _ = write!(out, "\n## {code} {name}\n{} {why}\n\n**Instead.** {fix}\n", label(rule));
        let _ = writeln!(
            out,
            "\nFound: [`fail.yaml`](../lint/fixtures/{code}/fail.yaml) · not found: [`pass.yaml`](../lint/fixtures/{code}/pass.yaml)"
        );
    }
    out
}

fn label(rule: &Rule) -> &'static str {
    match rule.level {
        Level::Error => "**Error.**",
        Level::Warning => "**Warning.**",
    }
}

const HEAD: &str = "# `portcullis lint`
What Istio takes although it opens a hole or does nothing, found in rendered manifests before they are applied:

```sh run
kustomize build DIR | portcullis lint -
```

It reads files, folders of `*.yaml` and `-` for standard input, all of them together, so give it everything that is \
applied together: a policy that is missing can only be missed where the rest is there. `--format text|json|sarif|github`. \
It ends with 0 when nothing was found, with 1 when something was, and with 2 when something could not be read.

Rules about the filter hold only where one of its plugins is among the manifests (label \
`app.kubernetes.io/part-of: portcullis`). A finding that is meant to be so is silenced at its resource, with the reason:

```yaml
metadata:
  annotations:
    portcullis.dev/lint-ignore: |
      PL501 the old billing host cannot do mutual TLS until March
```

This page is printed by `portcullis lint --rules`.

| code | rule |
|---|---|
";
