//! What came of a request, by what its client got and by what every proxy on the way wrote down.

use std::time::Duration;

use serde_json::Value;

use super::case::{Allowed, By, Expect, Refused};
use super::place::Place;
use crate::access_log::Hop;
use crate::block::Plan;
use crate::data_api::headers_seen;
use crate::http::Response;

/// What a proxy writes when it passed on what was answered behind it.
const PASSED_ON: &str = "via_upstream";

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether it was let through, and to whom.
    pub verdict: Verdict,
    /// The status; none without an answer.
    pub status: Option<u16>,
    /// Whom the Data API has verified.
    pub identity: Value,
    /// What the Data API got.
    pub headers: Vec<(String, String)>,
    /// What each proxy on the way did, as a line.
    pub way: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// Whether a request was let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was, and was answered there.
    Allowed(Place),
    /// It was not.
    Refused(By, Option<Place>),
}

/// The hops of one request in the order in which it passed them, from all that was logged.
pub(super) fn way(plan: Plan, logged: &[Hop], client: std::net::SocketAddr) -> Vec<(Place, Hop)> {
    let placed = |hop: &Hop| Some((Place::of(plan, hop.local.ip())?, hop.clone()));
    let Some(first) = logged.iter().rfind(|hop| hop.peer == client).and_then(placed) else {
        return Vec::new();
    };
    let same = |hop: &&Hop| hop.request_id.is_some() && hop.request_id == first.1.request_id;
    let behind = logged.iter().filter(same).filter_map(placed).filter(|(place, _)| *place > first.0);
    let mut way: Vec<(Place, Hop)> = behind.collect();
    way.sort_by_key(|(place, _)| *place);
    way.insert(0, first);
    way
}

/// Whether the last hop is the one that decided: it answered by itself, or an application did behind it.
pub(super) fn is_complete(way: &[(Place, Hop)]) -> bool {
    way.last().is_some_and(|(place, hop)| place.has_application() || details(hop) != PASSED_ON)
}

fn details(hop: &Hop) -> &str {
    hop.details.as_deref().unwrap_or_default()
}

impl Outcome {
    /// Nothing was answered.
    pub(super) fn unanswered(why: String) -> Self {
        Self {
            verdict: Verdict::Refused(By::Connection, None),
            status: None,
            identity: Value::Null,
            headers: Vec::new(),
            way: vec![why],
            took: Duration::ZERO,
        }
    }

    /// What an answer and the way to it amount to.
    pub(super) fn of(response: &Response, way: &[(Place, Hop)]) -> Self {
        let told = |(place, hop): &(Place, Hop)| {
            format!("{}: {} {}", place.name(), hop.status.unwrap_or_default(), details(hop))
        };
        let (identity, headers) = match verdict(response, way) {
            Verdict::Allowed(place) if place.has_application() => {
                (response.json()["identity"].clone(), headers_seen(response))
            }
            _ => (Value::Null, Vec::new()),
        };
        Self {
            verdict: verdict(response, way),
            status: Some(response.status),
            identity,
            headers,
            way: way.iter().map(told).collect(),
            took: response.elapsed,
        }
    }

    /// In what it is not what was expected.
    #[must_use]
    pub fn differences(&self, expect: &Expect) -> Vec<String> {
        match (expect, &self.verdict) {
            (Expect::Allowed(allowed), Verdict::Allowed(to)) => self.of_allowed(allowed, *to),
            (Expect::Refused(refused), Verdict::Refused(by, at)) => {
                let mut found = Vec::new();
                if refused.by != *by {
                    found.push(format!("refused by {by}, not by {}", refused.by));
                }
                if refused.at.is_some() && refused.at != *at {
                    let named = |place: Option<Place>| place.map_or("nowhere", Place::name);
                    found.push(format!("refused at {}, not at {}", named(*at), named(refused.at)));
                }
                found.extend(refused.status.and_then(|status| self.of_status(status)));
                found
            }
            _ => vec![format!("expected: {expect}; got: {self}")],
        }
    }

    fn of_status(&self, wanted: u16) -> Option<String> {
        (self.status != Some(wanted))
            .then(|| format!("the status is {}, not {wanted}", self.status.unwrap_or_default()))
    }

    fn of_allowed(&self, allowed: &Allowed, to: Place) -> Vec<String> {
        let mut found = Vec::new();
        if to != allowed.to {
            found.push(format!("answered by {}, not by {}", to.name(), allowed.to.name()));
        }
        found.extend(self.of_status(allowed.status));
        for (name, wanted) in &allowed.identity {
            if self.identity[name] != *wanted {
                found.push(format!("identity.{name} is {}, not {wanted}", self.identity[name]));
            }
        }
        for (name, _) in &allowed.headers {
            let (wanted, got) = (values(&allowed.headers, name), values(&self.headers, name));
            if wanted != got {
                found.push(format!("the Data API got {name}: {got:?}, not {wanted:?}"));
            }
        }
        for name in &allowed.absent {
            let got = values(&self.headers, name);
            if !got.is_empty() {
                found.push(format!("the Data API got {name}: {got:?}, and should not"));
            }
        }
        found.dedup();
        found
    }
}

/// The values of a header in order.
fn values<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let of_name = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    of_name.map(|(_, value)| value.as_str()).collect()
}

fn verdict(response: &Response, way: &[(Place, Hop)]) -> Verdict {
    let Some((place, hop)) = way.last() else {
        return Verdict::Refused(By::Proxy("no proxy has it in its log".to_owned()), None);
    };
    let details = details(hop);
    if place.has_application() && details == PASSED_ON {
        return Verdict::Allowed(*place);
    }
    let reason = response.header("x-portcullis-reason");
    let by = if reason.is_empty() {
        match refused_by(details, response.status) {
            Some(by) => by,
            None => return Verdict::Allowed(*place),
        }
    } else {
        By::Portcullis(reason.to_owned())
    };
    Verdict::Refused(by, Some(*place))
}

/// Who refused, by Envoy's details of the answer; nobody if a proxy answered by itself and well.
fn refused_by(details: &str, status: u16) -> Option<By> {
    if let Some(matched) = details.strip_prefix("rbac_access_denied_matched_policy[") {
        return Some(policy(matched).map_or(By::DefaultDeny, By::Policy));
    }
    if status < 400 {
        return None;
    }
    Some(match details {
        "route_not_found" | "cluster_not_found" | "direct_response" => By::Route,
        other if other.starts_with("jwt_authn_access_denied") => By::RequestAuthentication,
        other if other.starts_with("ext_authz") => By::Custom,
        other => By::Proxy(other.to_owned()),
    })
}

/// `NAMESPACE/NAME` of what istiod calls `ns[NAMESPACE]-policy[NAME]-rule[N]`; none for `none]`.
fn policy(matched: &str) -> Option<String> {
    let (namespace, rest) = matched.strip_prefix("ns[")?.split_once("]-policy[")?;
    let (name, _) = rest.split_once(']')?;
    Some(format!("{namespace}/{name}"))
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.verdict {
            Verdict::Allowed(place) => {
                write!(f, "allowed to {} ({})", place.name(), self.status.unwrap_or_default())
            }
            Verdict::Refused(by, at) => Refused { by: by.clone(), at: *at, status: self.status }.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_known_by_what_envoy_says_of_it() {
        let by = |details| refused_by(details, 403).unwrap().to_string();
        let of = "rbac_access_denied_matched_policy[ns[istio-system]-policy[agents-only-get]-rule[0]]";
        assert_eq!(by(of), "policy istio-system/agents-only-get");
        assert_eq!(by("rbac_access_denied_matched_policy[none]"), "default deny");
        assert_eq!(by("jwt_authn_access_denied{Jwt_is_missing}"), "request authentication");
        assert_eq!(by("something else"), "proxy: something else");
        assert_eq!(refused_by("direct_response", 204), None);
    }
}
