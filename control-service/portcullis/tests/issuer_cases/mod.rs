//! What becomes of issuers' keys, by subject.

mod life;
mod token;
