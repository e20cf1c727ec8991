//! The cases, by what they are about.

mod bodies;
mod callouts;
mod differences;
mod failures;
mod headers;
mod http2;
mod leavers;
mod modules;
mod replies;
mod roots;
mod state;

use super::case::Case;

/// All cases. Their names are unique.
pub(crate) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(headers::cases());
    all.extend(http2::cases());
    all.extend(bodies::cases());
    all.extend(replies::cases());
    all.extend(callouts::cases());
    all.extend(state::cases());
    all.extend(failures::cases());
    all.extend(roots::cases());
    all.extend(leavers::cases());
    all.extend(modules::cases());
    all.extend(differences::cases());
    all
}
