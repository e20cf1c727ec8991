//! What the token endpoint does, by subject.

mod exchange;
