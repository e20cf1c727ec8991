//! What an audit record of a call of the platform API tells of a change, for a store that was restored from before it.

use portcullis_control_domain::audit::CONTROL_HOP;
use portcullis_control_domain::caller::{Authority, RoleName};
use portcullis_control_domain::hold::Word;
use portcullis_control_domain::recovery::{Closing, Left, Told};
use portcullis_identity::ids::ClusterId;
use portcullis_protocol::audit::unhex;

use crate::audit::RecordReport;
use crate::calls::{Call, Effect, Recorded};

const NO_SECRET: &str = "its secret is in no backup, so make it again";
const STAYS_CLOSED: &str = "a restore opens nothing, so do it yourself if it is to hold";
const NEW_KEYS: &str = "the restore has made new signing keys, so there is nothing to do";

/// What a record tells of a change.
#[must_use]
pub fn told(record: &RecordReport) -> Told {
    let RecordReport { hop, decision, method, path, .. } = record;
    if hop != CONTROL_HOP || decision != "allow" {
        return Told::Nothing;
    }
    if record.erased.is_some() && method != "GET" {
        return Told::Unclear;
    }
    if method == "CLI" && path.starts_with("/bootstrap-admin") {
        return left(["administrator's token pca_", &record.key_id, "_…"].concat(), NO_SECRET);
    }
    if !path.starts_with("/v1/") {
        return Told::Nothing;
    }
    // What agents are given goes by certificates: those that the restored store does not know are good for nothing.
    if path.starts_with("/v1/agent/") {
        return Told::Nothing;
    }
    let Some(recorded) = Call::recorded(method, path) else { return Told::Unclear };
    match recorded.call.effect() {
        Effect::Reads | Effect::ReadsAudit | Effect::Reports | Effect::Issues => Told::Nothing,
        Effect::Closes | Effect::Ends | Effect::Replaces | Effect::Erases | Effect::Makes | Effect::Opens => {
            changed(&recorded, record).unwrap_or(Told::Unclear)
        }
    }
}

/// What a call changed; `None` where its path does not tell.
fn changed(recorded: &Recorded<'_>, record: &RecordReport) -> Option<Told> {
    let Recorded { call, id, rest } = *recorded;
    let names_it = matches!(call, Call::AddRevocation | Call::RemoveRevocation);
    // Older versions recorded an id as it was sent. What is revoked by its name was never part of the path.
    if !names_it && (record.path.contains('%') || rest.contains('/')) {
        return None;
    }
    let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let by = authority(&record.role);
    let made = |kind: &str, name: &str| left([kind, " ", name].concat().trim_end().to_owned(), NO_SECRET);
    Some(match call {
        Call::SuspendCluster => {
            let word = Word { side: by, by: record.caller.clone(), at_ms: record.time_ms };
            closed(Closing::Suspended(ClusterId::new(id).ok()?, word))
        }
        Call::RetireCluster => closed(Closing::Retired(ClusterId::new(id).ok()?)),
        Call::RevokeJoinToken => closed(Closing::JoinTokenRevoked(name(id)?)),
        Call::RevokeCertificates => {
            closed(Closing::CertificatesRevoked(ClusterId::new(id).ok()?, name(rest)))
        }
        Call::RevokeApiKey => closed(Closing::ApiKeyEnded(name(id)?)),
        Call::RotateApiKey => {
            replaced(Closing::ApiKeyEnded(name(id)?), ["API key ", rest, " in its place"].concat())
        }
        Call::RevokeServiceClient => closed(Closing::ClientRevoked(name(id)?)),
        Call::RotateServiceClient => {
            replaced(Closing::ClientSecretReplaced(name(id)?), ["new secret of service client ", id].concat())
        }
        Call::RevokeAdministrator => closed(Closing::AdministratorRevoked(name(id)?)),
        Call::EraseDataSubject => closed(Closing::SubjectErased(unhex(rest)?.try_into().ok()?)),
        // Older versions did not record what was revoked.
        Call::AddRevocation => closed(Closing::Revoked(name(rest)?, by)),
        Call::RemoveRevocation => left(["revocation of ", rest, ", taken back"].concat(), STAYS_CLOSED),
        Call::ResumeCluster => left(["cluster ", id, ", resumed"].concat(), STAYS_CLOSED),
        Call::RegisterCluster if rest.is_empty() => made("cluster", &record.cluster),
        Call::CreateApiKey => made("API key", rest),
        Call::CreateJoinToken => left(["join token ", rest, " of cluster ", id].concat(), NO_SECRET),
        Call::CreateServiceClient => made("service client", rest),
        Call::CreateAdministrator => made("token of the platform API", rest),
        Call::RotateSigningKey => left([id, " signing key ", rest].concat(), NEW_KEYS),
        _ => return None,
    })
}

fn closed(what: Closing) -> Told {
    Told::Done { closes: Some(what), leaves: None }
}

fn left(thing: String, why: &'static str) -> Told {
    Told::Done { closes: None, leaves: Some(Left { thing, why }) }
}

fn replaced(what: Closing, thing: String) -> Told {
    Told::Done { closes: Some(what), leaves: Some(Left { thing, why: NO_SECRET }) }
}

/// Whose word a change was. What does not tell is the highest: nobody below takes it back.
fn authority(role: &str) -> Authority {
    role.parse().map_or(Authority::Platform, RoleName::authority)
}

#[cfg(test)]
mod tests {
    use portcullis_control_domain::audit::Erased;
    use serde_json::json;

    use super::*;

    /// A record of the service itself.
    fn record(method: &str, path: &str, role: &str) -> RecordReport {
        let numbers =
            ["index", "sequence", "time_ms", "status", "response_flags", "duration_us", "request_bytes"];
        let texts = ["stream", "proxy", "request_id", "trace_id", "stage", "reason", "subject", "tenant"];
        let more = ["source_type", "credential", "issuer", "cluster", "client_address", "mode", "principal"];
        let last = ["mcp_method", "mcp_name", "claim", "leaf_hash"];
        let mut value = json!({"actors": [], "response_bytes": 0, "omitted": 0, "received_ms": null, "erased": null,
            "entry": null, "hop": "control", "decision": "allow", "key_id": "0af1", "method": method, "path": path,
            "role": role});
        for name in numbers {
            value[name] = json!(0);
        }
        for name in texts.into_iter().chain(more).chain(last) {
            value[name] = json!("");
        }
        value["cluster"] = json!("orders");
        serde_json::from_value(value).unwrap()
    }

    fn of(method: &str, path: &str) -> Told {
        told(&record(method, path, "administrator"))
    }

    /// A path as it is recorded of a call.
    fn recorded(call: Call) -> String {
        let path =
            call.path().replace("{id}", "acme").replace("{purpose}", "identity").replace("{index}", "7");
        let rest = match call {
            Call::AddRevocation | Call::RemoveRevocation => "/sub:eve/1",
            Call::EraseDataSubject => &["/", &"0a".repeat(32)].concat(),
            Call::CreateApiKey | Call::CreateServiceClient | Call::CreateAdministrator => "/made",
            Call::CreateJoinToken => "/made",
            Call::RotateApiKey | Call::RotateSigningKey => "/made",
            _ => "",
        };
        [&path, rest].concat()
    }

    #[test]
    fn what_a_record_tells_is_what_the_table_says_of_its_call() {
        for call in Call::ALL {
            let (closes, leaves) = match of(call.method(), &recorded(*call)) {
                Told::Done { closes, leaves } => (closes.is_some(), leaves.is_some()),
                Told::Nothing => (false, false),
                Told::Unclear => panic!("{call:?} is unclear"),
            };
            let wanted = match call.effect() {
                Effect::Closes | Effect::Ends | Effect::Erases => (true, false),
                Effect::Replaces => (true, true),
                Effect::Makes | Effect::Opens => (false, true),
                Effect::Reads | Effect::ReadsAudit | Effect::Reports | Effect::Issues => (false, false),
            };
            assert_eq!((closes, leaves), wanted, "{call:?}");
        }
    }

    #[test]
    fn whose_word_a_closing_was_it_stays() {
        for (role, by) in [
            ("cluster-owner", Authority::Owner),
            ("tenant-admin", Authority::Tenant),
            ("operator", Authority::Platform),
            ("administrator", Authority::Platform),
            ("", Authority::Platform),
            ("of-a-newer-version", Authority::Platform),
        ] {
            let found = told(&record("POST", "/v1/clusters/acme/suspend", role));
            let word = Word { side: by, by: None, at_ms: 0 };
            assert_eq!(found, closed(Closing::Suspended(ClusterId::new("acme").unwrap(), word)), "{role}");
            let found = told(&record("POST", "/v1/revocations/user:acme https://idp ann", role));
            assert_eq!(found, closed(Closing::Revoked("user:acme https://idp ann".to_owned(), by)), "{role}");
        }
    }

    #[test]
    fn what_is_left_is_named_with_the_reason() {
        for (method, path, thing) in [
            ("POST", "/v1/clusters", "cluster orders: its secret"),
            ("POST", "/v1/clusters/acme/resume", "cluster acme, resumed: a restore opens nothing"),
            ("POST", "/v1/api-keys/k1/rotate/k2", "API key k2 in its place: its secret"),
            ("DELETE", "/v1/revocations/sub:x", "revocation of sub:x, taken back: a restore opens nothing"),
            ("POST", "/v1/signing-keys/identity/k", "identity signing key k: the restore has made new"),
            ("CLI", "/bootstrap-admin/break-glass", "administrator's token pca_0af1_…: its secret"),
        ] {
            let Told::Done { leaves: Some(Left { thing: found, why }), .. } = of(method, path) else {
                panic!("{method} {path}")
            };
            assert!(format!("{found}: {why}").starts_with(thing), "{found}: {why}");
        }
    }

    #[test]
    fn what_others_record_and_what_was_refused_tells_nothing() {
        let good = || record("DELETE", "/v1/clusters/acme", "operator");
        for record in [
            RecordReport { hop: "gateway".to_owned(), ..good() },
            RecordReport { decision: "refuse".to_owned(), ..good() },
            record("GET", "/v1/audit/records", ""),
            record("HEAD", "/v1/clusters", ""),
            record("POST", "/oauth2/token/jti", ""),
            record("POST", "/v1/agent/join/4f", ""),
            record("CLI", "/backup/restore", ""),
            record("ROTATE", "/signing-keys/identity/k", ""),
        ] {
            assert_eq!(told(&record), Told::Nothing, "{record:?}");
        }
    }

    #[test]
    fn a_change_that_cannot_be_told_is_not_passed_over() {
        let erased = RecordReport { erased: Some(Erased::Subject), ..record("DELETE", "", "") };
        assert_eq!(told(&erased), Told::Unclear);
        let read = RecordReport { erased: Some(Erased::Subject), ..record("GET", "", "") };
        assert_eq!(told(&read), Told::Nothing);
        for (method, path) in [
            ("POST", "/v1/revocations"),
            ("POST", "/v1/clusters/%61cme/suspend"),
            ("DELETE", "/v1/administrators/%32fd"),
            ("DELETE", "/v1/clusters/No_Id"),
            ("POST", "/v1/clusters/acme/of-a-newer-version"),
            ("DELETE", "/v1/of-a-newer-version/acme"),
            ("PUT", "/v1/clusters/acme"),
            ("POST", "/v1/audit/erasures/0a"),
        ] {
            assert_eq!(of(method, path), Told::Unclear, "{method} {path}");
        }
        let name = "user:100%25".to_owned();
        assert_eq!(
            of("POST", "/v1/revocations/user:100%25"),
            closed(Closing::Revoked(name, Authority::Platform))
        );
    }
}
