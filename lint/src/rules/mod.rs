//! The rules. A new one is a file, or a function in one, its line here, and two fixtures.

mod authentication;
mod conditions;
mod fields;
mod plugins;
mod policies;
mod routes;
mod tls;

use crate::rule::{Level, Rule};

/// Every rule, by its code.
pub const RULES: &[Rule] = &[
    BAD_IGNORE,
    plugins::WITHOUT_PRIORITY,
    plugins::FAILS_OPEN,
    plugins::DOES_NOT_RELOAD,
    plugins::SAME_PRIORITY,
    plugins::CONFIGURATION,
    plugins::WRONG_PHASE,
    plugins::MATCHES_NOTHING,
    plugins::PORT_WITHOUT_FILTER,
    plugins::CALLOUT_CLUSTER,
    plugins::NOT_ENFORCED,
    authentication::ALONE,
    authentication::CUSTOM_SEES_FORGED,
    policies::RULE_SKIPPED,
    policies::MISSING_VALUE,
    policies::ALLOWS_EVERYBODY,
    policies::ROLES_INCOMPLETE,
    policies::NO_WORKLOAD,
    conditions::CLIENTS_HEADER,
    conditions::HEADER_WITHOUT_FILTER,
    conditions::NEVER_MATCHES,
    conditions::SPELT_ANOTHER_WAY,
    conditions::PATHS_NOT_NORMALISED,
    tls::NOT_STRICT,
    tls::MUTUAL_TLS_OFF,
    tls::ALERT_FLAPS,
    routes::NOT_BY_CLUSTER,
    routes::TO_MESH_API,
    routes::HIDDEN_CORS,
    routes::UNGUARDED_WAY,
    routes::OTHER_KIND,
    fields::UNKNOWN,
];

/// Says that an annotation silences nothing.
const BAD_IGNORE: Rule = Rule {
    code: "PL001",
    name: "ignored-without-a-reason",
    level: Level::Error,
    why: "A finding may be meant to be so, but whoever reads the manifest next has to know why. A code that no rule has \
          silences nothing.",
    fix: "Write lines of a code and the reason: `PL501 the old billing host cannot do mutual TLS until March`.",
    check: |world, found| {
        for resource in world.all() {
            let Some(annotation) = resource.silencer() else { continue };
            for (code, reason) in resource.silenced() {
                if !RULES.iter().any(|rule| rule.code == code) {
                    found.at(resource, annotation, format!("{code:?} is the code of no rule"));
                } else if reason.is_empty() {
                    found.at(resource, annotation, format!("{code} is silenced without a reason"));
                }
            }
        }
    },
};
