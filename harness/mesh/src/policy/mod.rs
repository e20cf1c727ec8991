//! Whether manifests let in what they should: cases from files, tried on the real istiod and the real Envoys.

mod case;
mod difference;
mod error;
mod files;
mod outcome;
mod parse;
mod parse_caller;
mod parse_expect;
mod place;
mod reader;
mod report;
mod run;
mod wallet;

pub use case::{Allowed, By, Case, Expect, Refused, State};
pub use difference::{Change, changes, diff_json, diff_text};
pub use error::PolicyError;
pub use files::{Manifests, load};
pub use outcome::{Outcome, Verdict};
pub use parse::cases;
pub use place::{Entrance, Place};
pub use reader::Mistake;
pub use report::{json, junit, text};
pub use run::{Runner, Tried, options};
