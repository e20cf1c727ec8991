//! Claims of a verified token.

use serde_json::{Map, Value};

/// The claims of a token (RFC 7519 §4).
pub type Claims = Map<String, Value>;

/// A claim of exchanged service tokens: the names (`jti:…`, `kid:…`, `client:…`) by which the tokens that they
/// were made from can be revoked, so that these end with them.
pub const DERIVED_FROM: &str = "derived_from";

/// Names of [`DERIVED_FROM`] at most: three for each exchange that a chain of eight actors has room for, and
/// some to spare.
pub const MAX_DERIVED_FROM: usize = 32;

/// Whether something can be named by a revocation. A token that can be known by nothing else must not pass.
#[must_use]
pub fn is_revocable(id: &str) -> bool {
    (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// A claim by its path of member names, outermost first. A path of one name reads that member, whatever
/// characters the name has (a namespaced claim is such a name).
#[must_use]
pub fn claim<'a>(claims: &'a Claims, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

/// Whether a claim has one of these text values; a list has those of its members.
#[must_use]
pub fn has_any(claims: &Claims, path: &[String], any_of: &[String]) -> bool {
    let accepted = |value: &Value| value.as_str().is_some_and(|text| any_of.iter().any(|a| a == text));
    match claim(claims, path) {
        Some(Value::Array(members)) => members.iter().any(accepted),
        Some(value) => accepted(value),
        None => false,
    }
}
