//! What two versions of manifests make of the same cases.

use std::fmt::Write;

use serde_json::{Value, json};

use super::outcome::Outcome;
use super::run::Tried;

/// A case of which the second version makes something else.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Under the first version.
    pub before: &'a Tried,
    /// Under the second.
    pub after: &'a Tried,
}

/// The cases of which the second version makes something else.
#[must_use]
pub fn changes<'a>(before: &'a [Tried], after: &'a [Tried]) -> Vec<Change<'a>> {
    let pairs = before.iter().zip(after).map(|(before, after)| Change { before, after });
    pairs.filter(|change| seen(&change.before.outcome) != seen(&change.after.outcome)).collect()
}

/// What a caller or a Data API can notice, without what is new in every request.
fn seen(outcome: &Outcome) -> Value {
    let ours = |name: &str| name.starts_with("x-portcullis-") && name != portcullis_identity::HEADER;
    let mut headers: Vec<_> = outcome.headers.iter().filter(|(name, _)| ours(name)).collect();
    headers.sort();
    json!({"verdict": outcome.to_string(), "identity": outcome.identity, "headers": headers})
}

/// For people.
#[must_use]
pub fn diff_text(changes: &[Change<'_>], cases: usize) -> String {
    let mut out = String::new();
    for change in changes {
        let Change { before, after } = change;
        let _ = writeln!(out, "{} ({}:{})", after.case.name, after.case.file, after.case.line);
        for (sign, tried) in [('-', before), ('+', after)] {
            let unexpected = if tried.ok() { "" } else { ", not as expected" };
            let _ = writeln!(out, "  {sign} {}{unexpected}", tried.outcome);
        }
        after.outcome.way.iter().for_each(|step| {
            let _ = writeln!(out, "    way: {step}");
        });
        out.push_str(&facts(change));
    }
    let _ = writeln!(out, "{} of {cases} cases change", changes.len());
    out
}

/// What the Data API learns otherwise, where it is asked both times.
fn facts(Change { before, after }: &Change<'_>) -> String {
    let mut out = String::new();
    let (before, after) = (seen(&before.outcome), seen(&after.outcome));
    if before["verdict"] != after["verdict"] {
        return out;
    }
    for member in ["identity", "headers"].into_iter().filter(|member| before[*member] != after[*member]) {
        let _ = writeln!(out, "  - {member} {}\n  + {member} {}", before[member], after[member]);
    }
    out
}

/// One JSON object with a list of the cases that change.
#[must_use]
pub fn diff_json(changes: &[Change<'_>], cases: usize) -> Value {
    let side = |tried: &Tried| {
        let Outcome { way, .. } = &tried.outcome;
        json!({"ok": tried.ok(), "seen": seen(&tried.outcome), "differences": tried.differences, "way": way})
    };
    let one = |Change { before, after }: &Change<'_>| {
        let case = &after.case;
        json!({"name": case.name, "file": case.file, "line": case.line, "before": side(before), "after": side(after)})
    };
    json!({"cases": cases, "changed": changes.iter().map(one).collect::<Vec<_>>()})
}
