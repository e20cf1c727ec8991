//! `RequestAuthentication`, and callers that are asked before the filter.

use crate::node::Node;
use crate::resource::Resource;
use crate::rule::{Level, Rule};
use crate::selector::Selector;
use crate::world::World;

/// A `RequestAuthentication` that requires nothing.
pub(super) const ALONE: Rule = Rule {
    code: "PL201",
    name: "request-authentication-alone",
    level: Level::Error,
    why: "A `RequestAuthentication` refuses bad tokens and lets requests without any token through. Only an \
          `AuthorizationPolicy` can require one.",
    fix: "Add an `AuthorizationPolicy` for the same workloads that allows only with `requestPrincipals` or a condition on \
          `request.auth.…`, or denies `notRequestPrincipals: [\"*\"]`.",
    check: |world, found| {
        for authentication in world.of("RequestAuthentication") {
            let selector = world.selector(authentication);
            let covered = world
                .of("AuthorizationPolicy")
                .any(|policy| requires_principal(policy) && world.selector(policy).covers(&selector));
            if !covered && !guarded(world, &selector) {
                found.path(
                    authentication,
                    "spec",
                    "no policy requires a principal, so requests without a token pass",
                );
            }
        }
    },
};

/// Whether the filter itself has refused whoever has no identity by then.
fn guarded(world: &World, selector: &Selector) -> bool {
    !selector.labels.is_empty() && world.guards_all(selector)
}

fn requires_principal(policy: &Resource) -> bool {
    let rules = policy.node.list_at("spec.rules");
    let deny = policy.node.text_at("spec.action") == "DENY";
    let of = |rule: &Node, field: &str| {
        rule.list_at("from").iter().any(|from| !from.list_at(&format!("source.{field}")).is_empty())
    };
    let when = |rule: &Node, field: &str| {
        let conditions = rule.list_at("when").iter();
        conditions
            .filter(|c| c.text_at("key").starts_with("request.auth."))
            .any(|c| !c.list_at(field).is_empty())
    };
    if deny {
        rules.iter().any(|rule| of(rule, "notRequestPrincipals") || when(rule, "notValues"))
    } else {
        !rules.is_empty() && rules.iter().any(|rule| of(rule, "requestPrincipals") || when(rule, "values"))
    }
}

/// An external authorizer that sees what clients have forged.
pub(super) const CUSTOM_SEES_FORGED: Rule = Rule {
    code: "PL202",
    name: "custom-sees-forged-headers",
    level: Level::Error,
    why: "Istio asks a `CUSTOM` provider before any plugin runs, so it sees `x-portcullis-*` headers as the client wrote \
          them. Only what removes them when a request's headers have been read (`early_header_mutation_extensions`) comes \
          first.",
    fix: "Apply base/gateway-connections.yaml to these workloads, whose EnvoyFilter removes reserved headers early.",
    check: |world, found| {
        let custom = |policy: &&Resource| policy.node.text_at("spec.action") == "CUSTOM";
        for policy in world.of("AuthorizationPolicy").filter(custom) {
            let selector = world.selector(policy);
            if world.guards(&selector) && !stripped_early(world, &selector) {
                found.path(
                    policy,
                    "spec.action",
                    "the provider sees identity headers that a client has forged",
                );
            }
        }
    },
};

fn stripped_early(world: &World, selector: &Selector) -> bool {
    let strips = |filter: &Resource| {
        let patches = filter.node.list_at("spec.configPatches").iter();
        let early =
            patches.filter_map(|patch| patch.at("patch.value.typed_config.early_header_mutation_extensions"));
        early.map(|extensions| extensions.json().to_string()).any(|text| text.contains("portcullis"))
    };
    // Of a policy for more than our plugins guard, only their headers matter.
    let covers = |filter: &Resource| {
        let stripped = world.selector(filter);
        stripped.covers(selector) || world.guarding(selector).all(|ours| stripped.covers(&ours.selector))
    };
    world.of("EnvoyFilter").any(|filter| strips(filter) && covers(filter))
}
