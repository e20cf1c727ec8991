//! Answers of the service as tables for people.

use serde_json::{Map, Value};

/// Columns of each kind of list, by the member that holds it.
const LISTS: &[(&str, &[&str])] = &[
    (
        "clusters",
        &["id", "tenant", "placement", "state", "administrative", "suspended_by", "observed", "version"],
    ),
    ("join_tokens", &["id", "cluster", "created_at_ms", "expires_at_ms", "used_at_ms", "revoked_at_ms"]),
    (
        "certificates",
        &[
            "serial",
            "cluster",
            "issued_for",
            "issued_by",
            "issued_at_ms",
            "not_after_ms",
            "revoked_at_ms",
            "key_digest",
        ],
    ),
    (
        "api_keys",
        &[
            "id",
            "tenant",
            "subject",
            "source_type",
            "roles",
            "expires_at_s",
            "last_used_at_ms",
            "revoked_at_ms",
            "replaced_by",
        ],
    ),
    (
        "administrators",
        &[
            "id",
            "role",
            "tenant",
            "cluster",
            "break_glass",
            "created_at_ms",
            "expires_at_s",
            "revoked_at_ms",
            "made_by",
            "person",
        ],
    ),
    ("issuers", &["issuer", "source", "state", "keys", "age_s", "fetched", "failed", "last_error"]),
    ("left_out", &["issuer", "kid", "reason"]),
    ("signing_keys", &["kid", "purpose", "state", "created_at_ms", "signs_from_ms", "signs_until_ms"]),
    (
        "service_clients",
        &["id", "tenant", "roles", "scopes", "audiences", "may_exchange", "lifetime_s", "revoked_at_ms"],
    ),
    ("signals", &["signal", "required", "value", "age_s", "source"]),
    ("holds", &["side", "by", "reason", "since_ms"]),
    ("revocations", &["name", "note", "made_by", "created_at_ms", "expires_at_s"]),
    (
        "records",
        &[
            "index",
            "time_ms",
            "hop",
            "decision",
            "reason",
            "status",
            "tenant",
            "issuer",
            "subject",
            "role",
            "source_type",
            "cluster",
            "method",
            "path",
            "request_id",
            "erased",
        ],
    ),
    (
        "streams",
        &[
            "stream",
            "kind",
            "principal",
            "proxy",
            "hop",
            "stored",
            "highest",
            "missing",
            "duplicates",
            "gaps",
        ],
    ),
    ("workers", &["worker", "proxy", "view", "revision", "polling", "last_seen_ms_ago"]),
    ("pending", &["worker", "proxy", "view", "revision"]),
    ("silent", &["worker", "proxy", "view", "revision", "stale_in_ms"]),
];

/// Prints an answer: its simple members as lines, its lists as tables.
#[must_use]
pub(super) fn render(answer: &Value) -> String {
    let mut out = String::new();
    if let Some(members) = answer.as_object() {
        describe(members, &mut out);
    }
    out
}

fn describe(members: &Map<String, Value>, out: &mut String) {
    for (name, value) in members {
        match value {
            Value::Object(_) if name == "person" => line(name, value, out),
            Value::Object(inner) => describe(inner, out),
            Value::Array(items) => {
                let known = LISTS.iter().find(|(list, _)| list == name);
                match known {
                    Some((_, columns))
                        if !items.is_empty()
                            || !matches!(name.as_str(), "pending" | "left_out" | "holds") =>
                    {
                        grid(columns, items, out)
                    }
                    _ => line(name, value, out),
                }
            }
            Value::Null => {}
            _ => line(name, value, out),
        }
    }
}

fn line(name: &str, value: &Value, out: &mut String) {
    out.push_str(name);
    out.push_str(": ");
    out.push_str(&cell(value));
    out.push('\n');
}

fn grid(columns: &[&str], items: &[Value], out: &mut String) {
    let mut rows: Vec<Vec<String>> = vec![columns.iter().map(|c| c.to_uppercase()).collect()];
    rows.extend(
        items.iter().map(|item| columns.iter().map(|c| cell(item.get(*c).unwrap_or(&Value::Null))).collect()),
    );
    let width = |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|at| width(at).unwrap_or_default()).collect();
    for row in &rows {
        let padded = row.iter().zip(&widths).map(|(text, width)| {
            let fill = width.saturating_sub(text.chars().count());
            [text.as_str(), &" ".repeat(fill)].concat()
        });
        out.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
}

/// One value on one line; control characters, which could fool a terminal, are escaped.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        // As a revocation names a person.
        Value::Object(person) if person.contains_key("subject") => {
            ["tenant", "issuer", "subject"].map(|part| person[part].as_str().unwrap_or("-")).join(" ")
        }
        other => other.to_string(),
    };
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_control_contract::agents::{IssuedCertificate, IssuedFor, JoinToken};
    use portcullis_control_contract::audit::RecordReport;
    use portcullis_control_contract::issuers::SigningKeyReport;
    use portcullis_control_domain::administrator::Administrator;
    use portcullis_control_domain::api_key::{ApiKey, NewApiKey};
    use portcullis_control_domain::audit::AuditRow;
    use portcullis_control_domain::caller::{Authority, Role};
    use portcullis_control_domain::client::{NewServiceClient, ServiceClient};
    use portcullis_control_domain::cluster::{Administer, Cluster, NewCluster, Placement};
    use portcullis_control_domain::hold::Word;
    use portcullis_control_domain::revocation::Revocation;
    use portcullis_control_domain::rollout::{SilentWorker, WorkerReport};
    use portcullis_control_domain::signal::{Required, SignalReport};
    use portcullis_control_domain::signing::{Purpose, SigningKey};
    use portcullis_identity::SourceType;
    use portcullis_identity::ids::{ClientId, ClusterId, Subject, TenantId};
    use portcullis_protocol::wire::AuditRecord;

    use super::*;

    #[test]
    fn a_list_becomes_a_grid_and_control_characters_do_not_reach_the_terminal() {
        let answer = serde_json::json!({"clusters": [
            {"id": "a", "tenant": "acme", "placement": "on_premises", "state": "online\u{1b}[2J",
             "administrative": "active", "observed": "online", "version": null}], "next": null});
        let text = render(&answer);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("ID  TENANT  PLACEMENT"), "{text}");
        assert!(lines[1].contains("online\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_person_is_written_as_a_revocation_names_them() {
        let person = serde_json::json!({"tenant": "acme", "issuer": "https://idp", "subject": "ann"});
        let text = render(&serde_json::json!({"administrator": {"id": "a", "person": person}}));
        assert!(text.contains("person: acme https://idp ann\n"), "{text}");
    }

    #[test]
    fn keys_that_are_left_out_stand_below_their_issuers() {
        let left = serde_json::json!([{"issuer": "https://a", "kid": null, "reason": "is in the set twice"}]);
        let text = render(&serde_json::json!({"issuers": [], "left_out": left}));
        assert!(text.ends_with("ISSUER     KID  REASON\nhttps://a  -    is in the set twice\n"), "{text}");
        assert!(render(&serde_json::json!({"left_out": []})).starts_with("left_out: -"));
    }

    /// One entry of each list, as the contract writes it.
    fn entries() -> Vec<(&'static str, Value)> {
        fn written(entry: impl serde::Serialize) -> Value {
            serde_json::to_value(entry).unwrap()
        }
        let (id, tenant) = (ClusterId::new("acme").unwrap(), TenantId::new("acme").unwrap());
        let join_token = JoinToken {
            id: "0af1".to_owned(),
            cluster: id.clone(),
            created_at_ms: 1,
            expires_at_ms: 2,
            used_at_ms: None,
            revoked_at_ms: None,
        };
        let certificate = IssuedCertificate {
            serial: "4f".to_owned(),
            cluster: id.clone(),
            tenant: tenant.clone(),
            key_digest: "00".to_owned(),
            issued_for: IssuedFor::Renewal,
            issued_by: "4e".to_owned(),
            issued_at_ms: 1,
            not_after_ms: 2,
            revoked_at_ms: None,
        };
        let placement = Placement::OnPremises;
        let cluster = NewCluster { id, tenant: tenant.clone(), placement, region: None };
        let mut cluster = Cluster::registered(cluster, 1);
        let word = Word { side: Authority::Owner, by: None, at_ms: 1 };
        cluster.administer(Administer::Suspend(None), word).unwrap();
        let key = NewApiKey {
            tenant: tenant.clone(),
            subject: Subject::new("ann").unwrap(),
            source_type: SourceType::Human,
            roles: Vec::new(),
            scopes: Vec::new(),
            expires_at_s: None,
        };
        let client = NewServiceClient {
            id: ClientId::new("svc-a").unwrap(),
            tenant,
            roles: Vec::new(),
            scopes: Vec::new(),
            audiences: Vec::new(),
            may_exchange: false,
            lifetime_s: 60,
        };
        let record = AuditRow {
            index: 1,
            entry: None,
            leaf: [0; 32],
            erased: None,
            principal: String::new(),
            record: AuditRecord::default(),
        };
        let worker = WorkerReport {
            worker: "01".to_owned(),
            proxy: "p".to_owned(),
            view: "gateway".to_owned(),
            revision: 1,
            polling: false,
            last_seen_ms_ago: 1,
        };
        let signing = SigningKeyReport::from(&SigningKey::generate(Purpose::Identity));
        vec![
            ("clusters", written(&cluster)),
            ("signals", written(SignalReport::all(&cluster.signals, Required::default(), 1))[0].clone()),
            ("holds", written(&cluster)["holds"][0].clone()),
            ("join_tokens", written(join_token)),
            ("certificates", written(certificate)),
            ("api_keys", written(ApiKey::made(key, "k", 1))),
            ("administrators", written(Administrator::generate(Role::Operator, None, None, 1).0)),
            ("signing_keys", written(signing)),
            ("service_clients", written(ServiceClient::made(client, 1))),
            ("revocations", written(Revocation::of_api_key("k", 1))),
            ("records", written(RecordReport::from(record))),
            ("workers", written(&worker)),
            ("pending", written(&worker)),
            ("silent", written(SilentWorker { worker, stale_in_ms: 1 })),
        ]
    }

    #[test]
    fn every_column_is_a_member_of_what_the_service_answers() {
        for (list, entry) in entries() {
            let (_, columns) = LISTS.iter().find(|(name, _)| *name == list).unwrap();
            for column in *columns {
                assert!(entry.get(*column).is_some(), "{list} has no {column}: {entry}");
            }
        }
    }
}
