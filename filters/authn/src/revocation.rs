//! Whether a credential was revoked.

use portcullis_identity::ids::Subject;
use portcullis_identity::{CredentialKind, Principal};
use portcullis_model::claims::{
    REVOKED_SERVICE_CLIENT, REVOKED_USER, read_user_name, service_client_name, user_name,
};
use portcullis_model::state::SnapshotState;

/// Whether a principal's credential has been revoked: by token id, session, key or client, or by the subject
/// that it speaks for or that acts for it. An exchanged service token ends with each of the tokens that led to
/// it.
#[must_use]
pub fn is_revoked(principal: &Principal, snapshot: &SnapshotState) -> bool {
    snapshot.has_revocations()
        && any_revocable(principal, snapshot, &mut |kind, value| match kind {
            "" => snapshot.is_revoked(value),
            kind => snapshot.is_revoked(&format!("{kind}:{value}")),
        })
}

/// The names of all revocations that would end a principal's credential.
#[must_use]
pub fn revocable_names(principal: &Principal, snapshot: &SnapshotState) -> Vec<String> {
    let mut names = Vec::new();
    any_revocable(principal, snapshot, &mut |kind, value| {
        names.push(if kind.is_empty() { value.to_owned() } else { format!("{kind}:{value}") });
        false
    });
    names
}

/// Whether a test holds for anything by which the credential could be revoked: its kind and its value, or
/// a whole name with an empty kind.
fn any_revocable(
    principal: &Principal,
    snapshot: &SnapshotState,
    test: &mut dyn FnMut(&str, &str) -> bool,
) -> bool {
    // Who got a service token from the control service is a client of it, under the same name as subject and
    // as actor; of other issuers' subjects that is not so.
    let own = principal.credential == CredentialKind::ServiceToken;
    if any_user(principal, snapshot, test) {
        return true;
    }
    let any_client = |id: &str, test: &mut dyn FnMut(&str, &str) -> bool| {
        test("client", id)
            || (own && test(REVOKED_SERVICE_CLIENT, &service_client_name(&principal.tenant, id)))
    };
    let mut subject =
        |subject: &Subject| test("sub", subject.as_str()) || (own && any_client(subject.as_str(), test));
    subject(&principal.subject)
        || principal.actors.iter().any(subject)
        || principal.derived_from.iter().any(|name| test("", name))
        || principal.session_id.as_deref().is_some_and(|id| test("sid", id))
        || principal.token_id.as_deref().is_some_and(|id| test("jti", id))
        || principal.key_id.as_ref().is_some_and(|id| test("kid", id.as_str()))
        || principal.client_id.as_ref().is_some_and(|id| any_client(id.as_str(), test))
}

/// Whether a test holds for a person: whom the credential speaks for, who acts, or from whose token it comes. An issuer
/// may be renamed, and a revocation is written by the name that somebody read, so every name of it counts.
fn any_user(
    principal: &Principal,
    snapshot: &SnapshotState,
    test: &mut dyn FnMut(&str, &str) -> bool,
) -> bool {
    let names = principal.issuer.as_ref().map(|issuer| snapshot.names_of_issuer(issuer));
    let issuers: Vec<_> = names.as_ref().map_or_else(|| vec![None], |names| names.iter().map(Some).collect());
    let mut person = |subject: &Subject| {
        issuers.iter().any(|issuer| test(REVOKED_USER, &user_name(&principal.tenant, *issuer, subject)))
    };
    if person(&principal.subject) || principal.actors.iter().any(person) {
        return true;
    }
    let users = principal.derived_from.iter().filter_map(|name| name.split_once(':'));
    let users = users.filter(|(kind, _)| *kind == REVOKED_USER).filter_map(|(_, name)| read_user_name(name));
    users.into_iter().any(|(tenant, issuer, subject)| {
        let names = snapshot.names_of_issuer(&issuer);
        names.iter().any(|issuer| test(REVOKED_USER, &user_name(&tenant, Some(issuer), &subject)))
    })
}
