//! End-to-end tests of Portcullis: see `tests/`. What can be shown without istiod and Envoy is tested with
//! the crate that it belongs to.
