//! What is done once, or within one bound, whichever replica is asked.

mod introspection;
mod issuers;
mod keys;
