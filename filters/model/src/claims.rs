//! Claims of a verified token.

use portcullis_identity::ids::{IssuerId, Subject, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// The claims of a token (RFC 7519 §4).
pub type Claims = Map<String, Value>;

/// A claim of exchanged service tokens: the names (`user:…`, `jti:…`, `kid:…`, `client:…`) by which the tokens that they
/// were made from can be revoked, so that these end with them.
pub const DERIVED_FROM: &str = "derived_from";

/// A claim of exchanged service tokens: true when the subject's token grants roles that are not known here.
pub const ROLES_INCOMPLETE: &str = "roles_incomplete";

/// Names of [`DERIVED_FROM`] at most: four for each exchange that a chain of eight actors has room for.
pub const MAX_DERIVED_FROM: usize = 32;

/// Whether something can be named by a revocation.
#[must_use]
pub fn is_revocable(id: &str) -> bool {
    (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// The kind of revocation that names one person: a subject together with tenant and issuer. Two issuers may each have
/// an `ann`, and so may two tenants of one issuer.
pub const REVOKED_USER: &str = "user";

/// What a revocation of one person is called, behind [`REVOKED_USER`]. None of the parts can have a space in it.
#[must_use]
pub fn user_name(tenant: &TenantId, issuer: Option<&IssuerId>, subject: &Subject) -> String {
    [tenant.as_str(), issuer.map_or(NO_ISSUER, IssuerId::as_str), subject.as_str()].join(" ")
}

/// Stands for the issuer of credentials that have none: API keys and workloads.
pub const NO_ISSUER: &str = "-";

/// The kind of revocation that ends what a client of the token endpoint got, when it is deleted. It is of service
/// tokens alone, and of one tenant: another issuer's clients may be called the same, and a tenant's administrator
/// chooses the name.
pub const REVOKED_SERVICE_CLIENT: &str = "service_client";

/// What a revocation of a client of the token endpoint is called, behind [`REVOKED_SERVICE_CLIENT`].
#[must_use]
pub fn service_client_name(tenant: &TenantId, id: &str) -> String {
    [tenant.as_str(), id].join(" ")
}

/// Whether a text is what [`user_name`] makes.
#[must_use]
pub fn is_user_name(text: &str) -> bool {
    read_user_name(text).is_some()
}

/// Tenant, issuer and subject of what [`user_name`] makes; `-` stands for an issuer here, too.
#[must_use]
pub fn read_user_name(text: &str) -> Option<(TenantId, IssuerId, Subject)> {
    let mut parts = text.split(' ');
    let tenant = TenantId::new(parts.next()?).ok()?;
    let issuer = IssuerId::new(parts.next()?).ok()?;
    let subject = Subject::new(parts.next()?).ok()?;
    parts.next().is_none().then_some((tenant, issuer, subject))
}

/// What claims say a token is for, where that is something else than access: an ID token or a refresh token of
/// Keycloak (`typ`) or Cognito (`token_use`), a logout token or another security event (`events`, RFC 8417). Nothing
/// stands in the header of some of these.
#[must_use]
pub fn other_use(claims: &Claims) -> Option<&'static str> {
    const USES: [(&str, &[&str]); 2] = [
        ("typ", &["id", "refresh", "offline", "logout", "serialized-id"]),
        ("token_use", &["id", "refresh", "refresh_token", "id_token"]),
    ];
    let says = |(name, uses): &(&'static str, &[&str])| {
        let said = claims.get(*name).and_then(Value::as_str);
        said.is_some_and(|said| uses.iter().any(|name| said.eq_ignore_ascii_case(name))).then_some(*name)
    };
    let events = claims.get("events").and_then(Value::as_object);
    let event = events.is_some_and(|events| !events.is_empty()).then_some("events");
    USES.iter().find_map(says).or(event)
}

/// A claim by its path of member names, outermost first. A path of one name reads that member, whatever
/// characters the name has (a namespaced claim is such a name).
#[must_use]
pub fn claim<'a>(claims: &'a Claims, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

/// A value that a claim can be compared with: a text, a number or a truth value. Each equals its own kind alone:
/// the text `true` is not the value `true`, so that nobody's text can pass for what an issuer has checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
}

impl Scalar {
    /// Whether a claim's value is this one. Numbers are compared by their value: 1 is 1.0.
    #[must_use]
    pub fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Number(wanted), Value::Number(value)) => same_number(wanted, value),
            (Self::Text(wanted), Value::String(value)) => wanted == value,
            _ => false,
        }
    }
}

/// Whether two numbers are the same one: integers by all their digits, for ids can be great, and fractions as they are
/// held. What can be held only rounded, because it is greater than 64 bits, is the same as nothing.
fn same_number(one: &Number, other: &Number) -> bool {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => held_exactly(one).is_some() && held_exactly(one) == held_exactly(other),
        _ => false,
    }
}

fn integer(number: &Number) -> Option<i128> {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
    whole.or_else(|| held_exactly(number).filter(|value| value.fract() == 0.0).map(|value| value as i128))
}

/// A value below 2^53, from where on one double stands for several integers.
fn held_exactly(number: &Number) -> Option<f64> {
    number.as_f64().filter(|value| value.abs() < 9_007_199_254_740_992.0)
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// Whether a claim has one of these values; a list has those of its members.
#[must_use]
pub fn has_any(claims: &Claims, path: &[String], any_of: &[Scalar]) -> bool {
    let accepted = |value: &Value| any_of.iter().any(|wanted| wanted.is(value));
    match claim(claims, path) {
        Some(Value::Array(members)) => members.iter().any(accepted),
        Some(value) => accepted(value),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_is_named_by_tenant_issuer_and_subject() {
        let (tenant, issuer) = (TenantId::new("acme").unwrap(), IssuerId::new("https://idp").unwrap());
        let subject = Subject::new("ann").unwrap();
        let name = user_name(&tenant, Some(&issuer), &subject);
        assert_eq!(name, "acme https://idp ann");
        assert_eq!(user_name(&tenant, None, &subject), "acme - ann");
        assert!(is_user_name(&name) && is_user_name("acme - ann"));
        for bad in
            ["", "ann", "acme ann", "acme  ann", "Acme - ann", "acme - ann x", "acme - ", "acme - \u{e4}"]
        {
            assert!(!is_user_name(bad), "{bad:?}");
        }
    }

    fn has(claim: Value, any_of: Value) -> bool {
        let claims = Map::from_iter([("c".to_owned(), claim)]);
        let any_of: Vec<Scalar> = serde_json::from_value(any_of).unwrap();
        has_any(&claims, &["c".to_owned()], &any_of)
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        assert!(has(json!(true), json!([true])) && !has(json!(false), json!([true])));
        assert!(!has(json!("true"), json!([true])) && !has(json!(true), json!(["true"])));
        assert!(has(json!(2), json!([1, 2])) && has(json!(1.0), json!([1])) && !has(json!("1"), json!([1])));
        assert!(has(json!("a"), json!(["a", 1])) && has(json!(["x", 1]), json!(["a", 1])));
        // Ids can be great numbers: neighbours are not the same because a double cannot tell them apart.
        let great = 9_007_199_254_740_992_u64;
        assert!(has(json!(great), json!([great])) && !has(json!(great + 1), json!([great])));
        assert!(has(json!(u64::MAX), json!([u64::MAX])) && !has(json!(u64::MAX), json!([u64::MAX - 1])));
        assert!(has(json!(i64::MIN), json!([i64::MIN])) && !has(json!(i64::MIN), json!([i64::MIN + 1])));
        assert!(!has(json!(1e300), json!([1e300])) && !has(json!(9_007_199_254_740_992.0), json!([great])));
        assert!(
            has(json!(1.5), json!([1.5])) && has(json!(-3), json!([-3.0])) && !has(json!(1.5), json!([1]))
        );
        assert!(has(json!(-0.0), json!([0])));
        for nothing in [json!(null), json!({}), json!([[true]]), json!([])] {
            assert!(!has(nothing.clone(), json!([true, "", 0])), "{nothing}");
        }
        assert!(serde_json::from_value::<Vec<Scalar>>(json!([null])).is_err());
        assert!(serde_json::from_value::<Vec<Scalar>>(json!([{}])).is_err());
    }
}
