//! `AuthorizationPolicy`: what a single condition, path, host or method matches.

use super::policies::{conditions, lists, policies};
use crate::node::Node;
use crate::resource::Resource;
use crate::rule::{Found, Level, Rule};

/// The header of a condition, in lower case.
fn header(condition: &Node) -> Option<String> {
    let key = condition.text_at("key").to_lowercase();
    Some(key.strip_prefix("request.headers[")?.strip_suffix(']')?.to_owned())
}

fn reserved(header: &str) -> bool {
    header.replace('_', "-").starts_with("x-portcullis-")
}

/// A condition on a header that clients write.
pub(super) const CLIENTS_HEADER: Rule = Rule {
    code: "PL401",
    name: "header-of-the-client",
    level: Level::Error,
    why: "The filter removes and writes `x-portcullis-*` headers. Every other header is what the client says of itself: who \
          must have it writes it, and who must not have it leaves it out.",
    fix: "Decide by a header that the filter writes: x-portcullis-source-type, -tenant, -subject, -roles, -scopes.",
    check: |world, found| {
        let guarded = |policy: &Resource| world.guards(&world.selector(policy));
        for (policy, action) in policies(world).filter(|(policy, _)| guarded(policy)) {
            // What is denied by a header is not denied to who leaves it out.
            let granting = |c: &&Node| match action {
                "ALLOW" => !c.list_at("values").is_empty(),
                action => action == "DENY",
            };
            for condition in conditions(policy).filter(granting) {
                let Some(name) = header(condition).filter(|name| !reserved(name) && !name.starts_with(':'))
                else {
                    continue;
                };
                found.on(
                    policy,
                    condition.line_of("key"),
                    format!("any client can write {name:?} as it likes"),
                );
            }
        }
    },
};

/// A reserved header where nobody has checked it.
pub(super) const HEADER_WITHOUT_FILTER: Rule = Rule {
    code: "PL402",
    name: "reserved-header-without-filter",
    level: Level::Error,
    why: "Where the filter does not run, an `x-portcullis-*` header is whatever the caller wrote. Behind the gateway that is \
          the gateway's word only if nobody else may call.",
    fix: "Run the filter there in role `sidecar`, or name the gateway's principal in `from` of the same rule.",
    check: |world, found| {
        let bare = |policy: &Resource| !world.ours().is_empty() && !world.guards_all(&world.selector(policy));
        for (policy, action) in policies(world).filter(|(policy, _)| bare(policy)) {
            let field = if action == "DENY" { "notValues" } else { "values" };
            for rule in policy.node.list_at("spec.rules") {
                let named =
                    lists(rule, &["principals", "serviceAccounts"]).any(|(_, list)| !list.items().is_empty());
                for condition in
                    rule.list_at("when").iter().filter(|c| !named && !c.list_at(field).is_empty())
                {
                    if let Some(name) = header(condition).filter(|name| reserved(name)) {
                        let message = format!("no filter runs here, so {name:?} is the caller's own word");
                        found.on(policy, condition.line_of("key"), message);
                    }
                }
            }
        }
    },
};

/// What is compared letter by letter.
const COMPARED: [&str; 8] =
    ["principals", "notPrincipals", "paths", "notPaths", "methods", "notMethods", "hosts", "notHosts"];

/// Something that nothing ever matches.
pub(super) const NEVER_MATCHES: Rule = Rule {
    code: "PL403",
    name: "never-matches",
    level: Level::Error,
    why: "Istio compares letter by letter. A DENY rule on a value that no request has denies nothing, an ALLOW rule allows \
          nothing.",
    fix: "Write the value as requests have it: methods in capitals, paths from the slash on without query and escapes, `*` \
          only at the beginning or the end, principals without `spiffe://`, one of the source types.",
    check: |world, found| {
        for (policy, _) in policies(world) {
            for rule in policy.node.list_at("spec.rules") {
                for (field, list) in lists(rule, &COMPARED) {
                    for item in list.items() {
                        let text = item.text().unwrap_or_default();
                        if let Some(why) = impossible(field, text) {
                            found.at(policy, item, format!("{field}: {text:?} {why}"));
                        }
                    }
                }
            }
            for condition in conditions(policy) {
                source_types(policy, condition, found);
                principals(policy, condition, found);
            }
        }
    },
};

fn impossible(field: &str, text: &str) -> Option<&'static str> {
    let inner = text.strip_prefix('*').unwrap_or(text);
    let inner = inner.strip_suffix('*').unwrap_or(inner);
    if inner.contains('*') && !text.contains('{') {
        return Some("has a * in the middle, which stands for itself");
    }
    match field.trim_start_matches("not").to_lowercase().as_str() {
        "methods" if text.chars().any(|c| c.is_ascii_lowercase()) => {
            Some("is not in capitals, as methods are")
        }
        "principals" if text.starts_with("spiffe://") => {
            Some("begins with spiffe://, which Istio writes before it once more")
        }
        "paths" => impossible_path(text),
        _ => None,
    }
}

fn impossible_path(text: &str) -> Option<&'static str> {
    if !text.starts_with(['/', '*', '{']) {
        return Some("does not begin with a slash, as every path does");
    }
    if text.contains(['?', '#']) {
        return Some("has a query, which is not compared");
    }
    if text.contains("//") || text.contains("/./") || text.contains("/../") {
        return Some("is not as paths are once they are normalised");
    }
    let escaped = text.split('%').skip(1).any(|rest| {
        let code = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        code.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-._~/\\".contains(&byte))
    });
    escaped.then_some("has an escape that is undone before paths are compared")
}

fn principals(policy: &Resource, condition: &Node, found: &mut Found) {
    if condition.text_at("key") != "source.principal" {
        return;
    }
    for item in values(condition) {
        let text = item.text().unwrap_or_default();
        if let Some(why) = impossible("principals", text) {
            found.at(policy, item, format!("source.principal: {text:?} {why}"));
        }
    }
}

fn values(condition: &Node) -> impl Iterator<Item = &Node> {
    condition.list_at("values").iter().chain(condition.list_at("notValues"))
}

fn source_types(policy: &Resource, condition: &Node, found: &mut Found) {
    let key = condition.text_at("key").to_lowercase();
    let tells = ["request.headers[x-portcullis-source-type]", "request.auth.claims[source_type]"];
    if !tells.contains(&key.as_str()) {
        return;
    }
    for item in values(condition) {
        let text = item.text().unwrap_or_default();
        if !["human", "worker", "mcp_agent"].contains(&text) && !text.contains('*') {
            found.at(
                policy,
                item,
                format!("{text:?} is no source type; they are human, worker and mcp_agent"),
            );
        }
    }
}

/// A DENY that another spelling gets round.
pub(super) const SPELT_ANOTHER_WAY: Rule = Rule {
    code: "PL404",
    name: "denied-under-one-spelling",
    level: Level::Error,
    why: "A path that is denied exactly as written is reached with a slash behind it wherever the application takes both, \
          and a host without a port is another text than the same host with one, which clients may send.",
    fix: "Deny the path with `*` at its end, and the host as `HOST` and `HOST:*`.",
    check: |world, found| {
        for (policy, _) in policies(world).filter(|(_, action)| *action == "DENY") {
            for rule in policy.node.list_at("spec.rules") {
                for (_, list) in lists(rule, &["paths"]) {
                    list.items().iter().for_each(|item| denied_path(policy, list, item, found));
                }
                for (_, list) in lists(rule, &["hosts"]) {
                    list.items().iter().for_each(|item| denied_host(policy, list, item, found));
                }
            }
        }
    },
};

fn has(list: &Node, wanted: &str) -> bool {
    list.items().iter().any(|item| item.text() == Some(wanted))
}

fn denied_path(policy: &Resource, list: &Node, item: &Node, found: &mut Found) {
    let text = item.text().unwrap_or_default();
    let bare = text.trim_end_matches('/');
    let open = text.contains(['*', '{']) || text == "/";
    let both =
        [format!("{bare}/"), format!("{bare}/*"), format!("{bare}*")].iter().any(|other| has(list, other));
    if !open && !text.ends_with('/') && !both {
        found.at(policy, item, format!("{text}/ is not denied"));
    }
}

fn denied_host(policy: &Resource, list: &Node, item: &Node, found: &mut Found) {
    let text = item.text().unwrap_or_default();
    if !text.ends_with('*') && !text.contains(':') && !has(list, &format!("{text}:*")) {
        found.at(policy, item, format!("{text} with a port is not denied"));
    }
}

/// Policies by path where paths have many spellings.
pub(super) const PATHS_NOT_NORMALISED: Rule = Rule {
    code: "PL405",
    name: "paths-not-normalised",
    level: Level::Error,
    why: "Without `pathNormalization: DECODE_AND_MERGE_SLASHES` a path has many spellings (`//admin`, `/%61dmin`), and a \
          policy by path knows only one. The filter reads the cluster from the path by that one, too.",
    fix: "Write `pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}` into the mesh configuration.",
    check: |world, found| {
        let Some((resource, mesh)) = world.mesh().filter(|_| !world.ours().is_empty()) else { return };
        let normalization = mesh.text_at("pathNormalization.normalization");
        if normalization != "DECODE_AND_MERGE_SLASHES" {
            let line =
                mesh.at("pathNormalization").map_or_else(|| resource.node.line_of("data.mesh"), |n| n.line);
            found.on(resource, line, "paths reach policies in more than one spelling");
        }
    },
};
