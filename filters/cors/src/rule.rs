//! Which pages of other origins may use an answer, and what a preflight is told.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portcullis_engine::reply::OwnedReply;
use portcullis_model::browser::{CLUSTERS_LIST_BYTES, CorsPolicy, POLICY_LIST_BYTES, told_len};
use portcullis_model::origin::OriginPattern;

pub(crate) const ALLOW_ORIGIN: &str = "access-control-allow-origin";
pub(crate) const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
pub(crate) const EXPOSE: &str = "access-control-expose-headers";
const ALLOW_METHODS: &str = "access-control-allow-methods";
const ALLOW_HEADERS: &str = "access-control-allow-headers";
const MAX_AGE: &str = "access-control-max-age";

/// What every page that may use an answer may read of it: how a refusal is told, and when to try again.
const ALWAYS_EXPOSED: &str = "retry-after, www-authenticate, x-portcullis-reason";

/// The longest list that an answer tells. It holds the plugin's policy and those of all clusters together, as far as
/// the configuration takes them.
const LIST_BYTES: usize = POLICY_LIST_BYTES + CLUSTERS_LIST_BYTES + 64;

/// Seconds for which a preflight of the platform's own endpoints is remembered.
const PUBLIC_MAX_AGE: &str = "600";

/// What pages of an origin may do by the policies that name it, taken together.
#[derive(Debug, Default)]
pub(crate) struct Granted<'a> {
    policies: Vec<&'a CorsPolicy>,
    credentials: bool,
}

impl<'a> Granted<'a> {
    /// What these policies grant to pages of an origin; `None` when none of them names it.
    pub(crate) fn by(policies: impl Iterator<Item = &'a CorsPolicy>, origin: &[u8]) -> Option<Self> {
        let policies: Vec<_> = policies.filter(|policy| policy.allows(origin)).collect();
        let credentials = policies.iter().any(|policy| policy.credentials);
        (!policies.is_empty()).then_some(Self { policies, credentials })
    }

    /// The same, with cookies or without.
    pub(crate) fn with_credentials(self, credentials: bool) -> Self {
        Self { credentials, ..self }
    }

    fn is_for_everybody(&self) -> bool {
        self.policies.iter().any(|policy| policy.origins.contains(&OriginPattern::Any))
    }

    fn union(&self, first: &[&'a str], list: impl Fn(&'a CorsPolicy) -> &'a [String]) -> String {
        let all = self.policies.iter().flat_map(|policy| list(policy)).map(String::as_str);
        let mut told = BTreeSet::new();
        let mut left = LIST_BYTES;
        for name in first.iter().copied().chain(all) {
            if told.contains(name) {
                continue;
            }
            // What is left out is not allowed.
            let Some(less) = left.checked_sub(told_len(name)) else { break };
            left = less;
            told.insert(name);
        }
        told.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// How an answer says so.
    pub(crate) fn grant(&self, origin: &[u8]) -> Grant {
        let always: Vec<&str> = ALWAYS_EXPOSED.split(", ").collect();
        let exposed = self.union(&always, |policy| &policy.exposed_headers);
        let credentials = self.credentials;
        let anybody = self.is_for_everybody() && !credentials;
        let origin =
            if anybody { Cow::Borrowed("*") } else { String::from_utf8_lossy(origin).into_owned().into() };
        Grant { origin, credentials, exposed: exposed.into() }
    }

    /// What a preflight is told besides the grant.
    pub(crate) fn preflight(&self) -> OwnedReply {
        let max_age = self.policies.iter().map(|policy| policy.max_age_seconds).min().unwrap_or_default();
        let headers = vec![
            (ALLOW_METHODS, self.union(&[], |policy| &policy.methods).into()),
            (ALLOW_HEADERS, self.union(&[], |policy| &policy.headers).into()),
            (MAX_AGE, max_age.to_string().into()),
        ];
        OwnedReply { status: 204, details: "portcullis_preflight", headers, ..OwnedReply::default() }
    }
}

/// What an answer says to the page that made its browser ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) origin: Cow<'static, str>,
    pub(crate) credentials: bool,
    pub(crate) exposed: Cow<'static, str>,
}

impl Grant {
    /// To every page, and never with cookies.
    pub(crate) fn public() -> Self {
        Self { origin: "*".into(), credentials: false, exposed: ALWAYS_EXPOSED.into() }
    }
}

/// What a preflight of one of the platform's own endpoints is told. Clients may send whichever headers they like;
/// `Authorization` is not among what `*` means (Fetch standard, "CORS non-wildcard request-header name").
pub(crate) fn public_preflight(method: &'static str) -> OwnedReply {
    let headers = vec![
        (ALLOW_METHODS, method.into()),
        (ALLOW_HEADERS, "authorization, *".into()),
        (MAX_AGE, PUBLIC_MAX_AGE.into()),
    ];
    OwnedReply { status: 204, details: "portcullis_preflight", headers, ..OwnedReply::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[&str], change: impl FnOnce(&mut CorsPolicy)) -> CorsPolicy {
        let origins = origins.iter().map(|origin| OriginPattern::parse(origin).unwrap()).collect();
        let mut policy = CorsPolicy { origins, max_age_seconds: 600, ..CorsPolicy::default() };
        change(&mut policy);
        policy
    }

    fn header<'a>(reply: &'a OwnedReply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    #[test]
    fn policies_that_name_an_origin_count_together_and_others_do_not() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let policies = [
            policy(&["https://a.test"], |p| {
                p.methods = list(&["GET", "PUT"]);
                p.exposed_headers = list(&["x-a"]);
            }),
            policy(&["https://*.test.example", "https://a.test"], |p| {
                p.methods = list(&["POST", "GET"]);
                p.headers = list(&["x-b"]);
                p.credentials = true;
                p.max_age_seconds = 5;
            }),
            policy(&["https://b.test"], |p| p.methods = list(&["DELETE"])),
        ];
        let granted = Granted::by(policies.iter(), b"https://a.test").unwrap();
        let told = granted.preflight();
        assert_eq!(told.status, 204);
        for (name, value) in [(ALLOW_METHODS, "GET, POST, PUT"), (ALLOW_HEADERS, "x-b"), (MAX_AGE, "5")] {
            assert_eq!(header(&told, name), Some(value));
        }
        let grant = granted.grant(b"https://a.test");
        assert_eq!((&*grant.origin, grant.credentials), ("https://a.test", true));
        assert!(grant.exposed.contains("x-a, x-portcullis-reason"));
        assert!(Granted::by(policies.iter(), b"https://c.test").is_none());
        let without = granted.with_credentials(false).grant(b"https://a.test");
        assert_eq!((&*without.origin, without.credentials), ("https://a.test", false));
    }

    #[test]
    fn no_list_is_told_that_is_longer_than_an_answer_may_be() {
        let named =
            |from: usize| (from..from + 64).map(|n| format!("x-a-header-of-mine-{n}")).collect::<Vec<_>>();
        let policies: Vec<_> = (0..256)
            .map(|at| {
                policy(&["https://a.test"], |p| {
                    (p.headers, p.exposed_headers) = (named(at * 64), named(at * 64));
                })
            })
            .collect();
        let granted = Granted::by(policies.iter(), b"https://a.test").unwrap();
        let (told, grant) = (granted.preflight(), granted.grant(b"https://a.test"));
        for list in [header(&told, ALLOW_HEADERS).unwrap(), &grant.exposed] {
            assert!((1_024..=LIST_BYTES).contains(&list.len()) && list.contains("x-a-header-of-mine-0,"));
        }
        assert!(ALWAYS_EXPOSED.split(", ").all(|name| grant.exposed.contains(name)));
    }

    #[test]
    fn who_may_be_anybody_is_told_so_but_never_with_cookies() {
        let all = [policy(&["*"], |_| ())];
        let told = Granted::by(all.iter(), b"https://a.test").unwrap().grant(b"https://a.test");
        assert_eq!((&*told.origin, told.credentials), ("*", false));
        assert!(Granted::by(all.iter(), b"null").is_none());
        let both = [policy(&["*"], |_| ()), policy(&["https://a.test"], |p| p.credentials = true)];
        let told = |origin: &[u8]| {
            let grant = Granted::by(both.iter(), origin).unwrap().grant(origin);
            (grant.origin, grant.credentials)
        };
        assert_eq!(told(b"https://a.test"), ("https://a.test".into(), true));
        assert_eq!(told(b"https://b.test"), ("*".into(), false));
    }
}
