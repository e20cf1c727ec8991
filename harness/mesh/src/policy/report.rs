//! What came of cases, in the forms that people and machines read.

use std::fmt::Write;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::run::Tried;

/// For people: a table, and below each case that came out otherwise why, and what every proxy did.
#[must_use]
pub fn text(tried: &[Tried]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{:<4} {:<52} {:<62} {:>6}", "", "case", "got", "ms");
    for Tried { case, outcome, differences } in tried {
        let mark = if differences.is_empty() { "ok" } else { "FAIL" };
        let (got, ms) = (outcome.to_string(), outcome.took.as_millis());
        let _ = writeln!(out, "{mark:<4} {:<52} {got:<62} {ms:>6}", case.name);
        if !differences.is_empty() {
            let _ = writeln!(out, "     {}:{} expected: {}", case.file, case.line, case.expect);
            differences.iter().for_each(|difference| {
                let _ = writeln!(out, "     differs: {difference}");
            });
            outcome.way.iter().for_each(|step| {
                let _ = writeln!(out, "     way: {step}");
            });
        }
    }
    let failed = failed(tried);
    let _ = writeln!(out, "{} of {} cases as expected", tried.len() - failed, tried.len());
    out
}

fn failed(tried: &[Tried]) -> usize {
    tried.iter().filter(|tried| !tried.ok()).count()
}

/// One JSON object with a list of cases.
#[must_use]
pub fn json(tried: &[Tried]) -> Value {
    let one = |Tried { case, outcome, differences }: &Tried| {
        json!({
            "name": case.name, "file": case.file, "line": case.line, "ok": differences.is_empty(),
            "expected": case.expect.to_string(), "got": outcome.to_string(), "status": outcome.status,
            "differences": differences, "way": outcome.way, "milliseconds": outcome.took.as_millis(),
        })
    };
    json!({"failed": failed(tried), "cases": tried.iter().map(one).collect::<Vec<_>>()})
}

/// JUnit's XML, one suite for each file of cases.
///
/// # Errors
/// When the XML cannot be written.
pub fn junit(tried: &[Tried]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("portcullis policy test");
    let mut files: Vec<&str> = tried.iter().map(|tried| tried.case.file.as_str()).collect();
    files.dedup();
    for file in files {
        let mut suite = TestSuite::new(file);
        for Tried { case, outcome, differences } in tried.iter().filter(|tried| tried.case.file == file) {
            let mut status = TestCaseStatus::success();
            if !differences.is_empty() {
                status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(differences.join("; "));
                status.set_description(outcome.way.join("\n"));
            }
            let mut one = TestCase::new(case.name.as_str(), status);
            one.set_classname(file).set_time(outcome.took);
            one.set_system_out(outcome.to_string());
            suite.add_test_case(one);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}
