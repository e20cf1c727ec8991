//! Mutual TLS, and certificates that clients see.

use crate::node::{Entry, Node};
use crate::resource::Resource;
use crate::rule::{Level, Rule};
use crate::world::World;

/// Plaintext that is let in.
pub(super) const NOT_STRICT: Rule = Rule {
    code: "PL501",
    name: "mutual-tls-not-strict",
    level: Level::Error,
    why: "Without STRICT a sidecar takes plaintext beside mutual TLS: from whoever reaches the pod, and with no principal \
          that a policy could ask for.",
    fix: "Write `mode: STRICT`, in the root namespace for the whole mesh, and no exception from it.",
    check: |world, found| {
        let mut strict = false;
        for authentication in world.of("PeerAuthentication") {
            let mode = authentication.node.text_at("spec.mtls.mode");
            let whole = world.selector(authentication);
            strict |= mode == "STRICT" && whole.namespace.is_none() && whole.labels.is_empty();
            if matches!(mode, "PERMISSIVE" | "DISABLE") {
                found.path(authentication, "spec.mtls.mode", format!("{mode} lets plaintext in"));
            }
            let ports = authentication.node.at("spec.portLevelMtls").map(Node::members).unwrap_or_default();
            for Entry { key, node } in ports.iter().filter(|port| port.node.text_at("mode") != "STRICT") {
                found.at(authentication, node, format!("port {key} takes plaintext"));
            }
        }
        if let Some(ours) = world.ours().first().filter(|_| !strict) {
            let namespace = world.root_namespace();
            let message = format!("no PeerAuthentication in {namespace} says STRICT for the whole mesh");
            found.on(&ours.resource, ours.resource.node.line, message);
        }
    },
};

/// A client side that turns mutual TLS off.
pub(super) const MUTUAL_TLS_OFF: Rule = Rule {
    code: "PL502",
    name: "destination-rule-without-mutual-tls",
    level: Level::Error,
    why: "A `DestinationRule` with `tls` of its own for a host of the mesh takes the place of automatic mutual TLS: \
          `DISABLE` sends plaintext, `SIMPLE` shows no certificate.",
    fix: "Leave `tls` out, or write `mode: ISTIO_MUTUAL`.",
    check: |world, found| {
        for rule in world.of("DestinationRule").filter(|rule| is_in_mesh(world, rule)) {
            let subsets =
                rule.node.list_at("spec.subsets").iter().filter_map(|subset| subset.get("trafficPolicy"));
            for policy in rule.node.at("spec.trafficPolicy").into_iter().chain(subsets) {
                let ports = policy.list_at("portLevelSettings").iter();
                for tls in ports.chain([policy]).filter_map(|settings| settings.get("tls")) {
                    let mode = tls.text_at("mode");
                    if mode != "ISTIO_MUTUAL" {
                        let told = if mode.is_empty() { "DISABLE, the default of `tls`," } else { mode };
                        found.on(
                            rule,
                            tls.line_of("mode"),
                            format!("{told} instead of mutual TLS inside the mesh"),
                        );
                    }
                }
            }
        }
    },
};

/// Whether its host is one of the mesh: a service of Kubernetes, or one that a `ServiceEntry` says to be inside.
fn is_in_mesh(world: &World, rule: &Resource) -> bool {
    let host = rule.node.text_at("spec.host");
    let inside = |entry: &Resource| {
        let named = entry.node.list_at("spec.hosts").iter().any(|other| other.text() == Some(host));
        named && entry.node.text_at("spec.location") == "MESH_INTERNAL"
    };
    host.ends_with(".svc.cluster.local") || !host.contains('.') || world.of("ServiceEntry").any(inside)
}

/// A certificate that is renewed after the alarm has sounded.
pub(super) const ALERT_FLAPS: Rule = Rule {
    code: "PL503",
    name: "certificate-alert-flaps",
    level: Level::Warning,
    why: "An alert on certificates that end within 30 days sounds before each renewal of a certificate that is renewed \
          later than that: by default when a third of its life is left, which of 90 days are 30, of 47 days 16.",
    fix: "Write a `renewBefore` of more than 30 days (`1080h`), or `renewBeforePercentage`; for certificates that live \
          shorter let the alert go by the share of life that is left.",
    check: |world, found| {
        let Some(threshold) = alert_threshold_s(world) else { return };
        for certificate in world.of("Certificate").filter(|c| c.group() == "cert-manager.io") {
            let seconds = |path: &str| go_duration_s(certificate.node.text_at(path));
            let life = seconds("spec.duration").unwrap_or(90 * 86_400);
            let percentage = certificate.node.at("spec.renewBeforePercentage").and_then(Node::int);
            let share = percentage.and_then(|p| u64::try_from(p).ok()).map(|p| life / 100 * p.min(100));
            let left = seconds("spec.renewBefore").or(share).unwrap_or(life / 3);
            if life > 7 * 86_400 && left <= threshold {
                let (left, threshold) = (left / 86_400, threshold / 86_400);
                let message =
                    format!("is renewed {left} days before its end, and the alert sounds at {threshold}");
                found.path(certificate, "spec.renewBefore", message);
            }
        }
    },
};

/// When the alert on the end of certificates sounds, in seconds: the greatest of the rules.
fn alert_threshold_s(world: &World) -> Option<u64> {
    let rules = world.of("PrometheusRule").flat_map(|rule| rule.node.list_at("spec.groups"));
    let expressions = rules.flat_map(|group| group.list_at("rules")).map(|rule| rule.text_at("expr"));
    expressions.filter_map(threshold_of).max()
}

/// The seconds in `certmanager_certificate_expiration_timestamp_seconds - time() < 30 * 24 * 3600`.
fn threshold_of(expression: &str) -> Option<u64> {
    if !expression.contains("certificate_expiration_timestamp_seconds") {
        return None;
    }
    let (_, after) = expression.rsplit_once('<')?;
    let product = after.split(|c: char| !(c.is_ascii_digit() || c.is_whitespace() || c == '*')).next()?;
    let factors: Option<Vec<u64>> = product.split('*').map(|factor| factor.trim().parse().ok()).collect();
    factors?.into_iter().try_fold(1_u64, u64::checked_mul)
}

/// Seconds of `2160h30m5s`.
fn go_duration_s(text: &str) -> Option<u64> {
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
        let (number, unit) = rest.split_at(digits);
        let factor = match unit.chars().next()? {
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = number.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(seconds)?;
        rest = unit.get(1..)?;
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_of_durations_and_thresholds() {
        assert_eq!(go_duration_s("2160h"), Some(90 * 86_400));
        assert_eq!(go_duration_s("1h30m5s"), Some(5_405));
        assert_eq!((go_duration_s(""), go_duration_s("3d"), go_duration_s("h")), (None, None, None));
        let metric = "certmanager_certificate_expiration_timestamp_seconds";
        assert_eq!(threshold_of(&format!("{metric} - time() < 30 * 24 * 3600")), Some(2_592_000));
        assert_eq!(
            threshold_of(&format!("({metric} - time()) < 2592000 and on() vector(1)")),
            Some(2_592_000)
        );
        assert_eq!(threshold_of("up < 1"), None);
        assert_eq!(threshold_of(&format!("{metric} < {} * {}", u64::MAX, u64::MAX)), None);
        assert_eq!(go_duration_s(&format!("{}s1s", u64::MAX)), None);
    }
}
