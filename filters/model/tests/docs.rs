//! The reference names every reason with its status and title.

use portcullis_model::Reason;

#[test]
fn every_reason_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
    let text = std::fs::read_to_string(path).expect("docs/reference.md is there");
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} | {} |", reason.code(), reason.status(), reason.title());
        assert!(text.contains(&row), "docs/reference.md lacks the row: {row}");
    }
}
