//! The cases, by what they are about.

mod bodies;
mod callouts;
mod failures;
mod headers;
mod replies;
mod state;

use super::case::Case;

/// All cases. Their names are unique.
pub(crate) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(headers::cases());
    all.extend(bodies::cases());
    all.extend(replies::cases());
    all.extend(callouts::cases());
    all.extend(state::cases());
    all.extend(failures::cases());
    all
}
