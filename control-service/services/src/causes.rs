//! An error with everything that led to it, on one line.

use std::error::Error;

/// The messages of an error and its sources, outermost first. Libraries tell the reason only in a source.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        let message = deeper.to_string();
        if !text.contains(&message) {
            text = [text.as_str(), &message].join(": ");
        }
        source = deeper.source();
    }
    text
}
