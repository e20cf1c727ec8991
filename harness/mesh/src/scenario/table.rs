//! The scenario as a table.

use serde_json::Value;

use super::{Report, Row};

/// Prints the table's head.
pub fn print_header() {
    println!(
        "{:<4} {:<24} {:<40} {:<26} {:<26} {:>6}  reason",
        "", "who", "request", "expected", "got", "ms"
    );
    println!("{}", "-".repeat(150));
}

/// Prints one row.
pub fn print_row(row: &Row) {
    let mark = if row.ok { "ok" } else { "FAIL" };
    let ms = row.took.as_secs_f64() * 1e3;
    println!(
        "{mark:<4} {:<24} {:<40} {:<26} {:<26} {ms:>6.0}  {}",
        row.who, row.request, row.expected, row.got, row.reason
    );
}

/// Prints some audit records, and how many rows came out as expected.
pub fn print_summary(report: &Report) {
    println!("\naudit records of the last of these requests:");
    println!(
        "{:<9} {:<22} {:<10} {:<18} {:<10} {:<14} {:<7} {:<20} {:>6} {:>8}",
        "index", "reason", "decision", "subject", "source", "cluster", "method", "path", "status", "us"
    );
    for record in &report.audit {
        let text = |name: &str| match &record[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        println!(
            "{:<9} {:<22} {:<10} {:<18} {:<10} {:<14} {:<7} {:<20} {:>6} {:>8}",
            text("index"),
            text("reason"),
            text("decision"),
            text("subject"),
            text("source_type"),
            text("cluster"),
            text("method"),
            text("path"),
            text("status"),
            text("duration_us")
        );
    }
    let failed = report.failed().count();
    println!("\n{} of {} rows as expected", report.rows.len() - failed, report.rows.len());
}
