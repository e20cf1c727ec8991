//! What a token grants: never more than the client may have, and for somebody else never more than they
//! have.

use portcullis_control_domain::client::ServiceClient;
use portcullis_identity::ids::{ClientId, KeyId, Role, Scope, Subject};
use portcullis_identity::{CredentialKind, MAX_ACTORS, Principal};
use portcullis_model::claims::{MAX_DERIVED_FROM, user_name};

use super::TokenError;
use super::request::TokenRequest;

/// What a token will say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// Whom it speaks for.
    pub(super) subject: String,
    /// Their tenant.
    pub(super) tenant: String,
    /// Roles.
    pub(super) roles: Vec<String>,
    /// Scopes.
    pub(super) scopes: Vec<String>,
    /// Audiences.
    pub(super) audiences: Vec<String>,
    /// Who acts for the subject, the current actor first.
    pub(super) actors: Vec<String>,
    /// The session that the subject's token belongs to.
    pub(super) session_id: Option<String>,
    /// By what else the subject's token, and those behind it, can be revoked.
    pub(super) derived_from: Vec<String>,
    /// True when the subject's token grants roles that are not known here.
    pub(super) roles_incomplete: bool,
    /// No token of this grant may live longer, seconds since the Unix epoch.
    pub(super) ends_at_s: u64,
}

/// The client's own token.
///
/// # Errors
/// [`TokenError`] when more is asked for than the client may have.
pub(super) fn client_credentials(
    client: &ServiceClient,
    request: &TokenRequest,
) -> Result<Grant, TokenError> {
    Ok(Grant {
        subject: client.id.clone(),
        tenant: client.tenant.to_string(),
        roles: client.roles.clone(),
        scopes: scopes(client, request, &client.scopes)?,
        audiences: audiences(client, request)?,
        actors: Vec::new(),
        session_id: None,
        derived_from: Vec::new(),
        roles_incomplete: false,
        ends_at_s: u64::MAX,
    })
}

/// A token by which the client acts for the subject of a verified token (RFC 8693 §1.1: delegation).
///
/// # Errors
/// [`TokenError`] when the client may not, or more is asked for than both may have.
pub(super) fn exchange(
    client: &ServiceClient,
    request: &TokenRequest,
    subject: &Principal,
) -> Result<Grant, TokenError> {
    if !client.may_exchange {
        return Err(TokenError::UnauthorizedClient);
    }
    if subject.tenant != client.tenant {
        return Err(TokenError::InvalidGrant("the subject belongs to another tenant than the client"));
    }
    // Otherwise a service would become an agent by its own word: whoever has an actor is one.
    let itself = |name: &Subject| name.as_str() == client.id;
    if itself(&subject.subject) || subject.actors.first().is_some_and(itself) {
        return Err(TokenError::InvalidGrant("the client would act for itself"));
    }
    let mut actors = vec![client.id.clone()];
    actors.extend(subject.actors.iter().map(Subject::to_string));
    if actors.len() > MAX_ACTORS {
        return Err(TokenError::InvalidGrant("the subject token has too many actors already"));
    }
    let own: Vec<String> = subject.scopes.iter().map(Scope::to_string).collect();
    let roles = subject.roles.iter().map(Role::to_string);
    Ok(Grant {
        subject: subject.subject.to_string(),
        tenant: client.tenant.to_string(),
        roles: roles.filter(|role| client.roles.contains(role)).collect(),
        scopes: scopes(client, request, &own)?,
        audiences: audiences(client, request)?,
        actors,
        session_id: subject.session_id.clone(),
        derived_from: derived_from(subject)?,
        roles_incomplete: subject.roles_incomplete,
        ends_at_s: subject.expires_at,
    })
}

/// What revokes the new token beside its own names: everything that revokes the subject's, but for what the new
/// one says in claims of its own (`sub`, `act`, `sid`).
fn derived_from(subject: &Principal) -> Result<Vec<String>, TokenError> {
    let mut names = subject.derived_from.clone();
    let user = user_name(&subject.tenant, subject.issuer.as_ref(), &subject.subject);
    let own = [
        ("user:", Some(user.as_str())),
        ("jti:", subject.token_id.as_deref()),
        ("kid:", subject.key_id.as_ref().map(KeyId::as_str)),
        ("client:", subject.client_id.as_ref().map(ClientId::as_str)),
    ];
    for (kind, value) in own {
        let name = value.map(|value| [kind, value].concat());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    // The new token's issuer is this service. Whoever acted at another one is known by that one's name.
    let foreign = subject.credential != CredentialKind::ServiceToken;
    for actor in subject.actors.iter().filter(|_| foreign) {
        let name = ["user:", &user_name(&subject.tenant, subject.issuer.as_ref(), actor)].concat();
        names.extend(Some(name).filter(|name| !names.contains(name)));
    }
    if names.len() > MAX_DERIVED_FROM {
        return Err(TokenError::InvalidGrant("the subject token was exchanged too often already"));
    }
    Ok(names)
}

/// The scopes asked for, or all that client and subject share. Scopes that only one of them has are left
/// out where nothing was asked for, and refused where they were.
fn scopes(client: &ServiceClient, request: &TokenRequest, has: &[String]) -> Result<Vec<String>, TokenError> {
    let both = |scope: &&String| client.scopes.contains(scope) && has.contains(scope);
    match &request.scopes {
        None => Ok(has.iter().filter(both).cloned().collect()),
        Some(wanted) if wanted.iter().all(|scope| both(&scope)) => Ok(wanted.clone()),
        Some(_) => Err(TokenError::InvalidScope),
    }
}

fn audiences(client: &ServiceClient, request: &TokenRequest) -> Result<Vec<String>, TokenError> {
    match request.audiences.as_slice() {
        [] => Ok(client.audiences.clone()),
        wanted if wanted.iter().all(|a| client.audiences.contains(a)) => Ok(wanted.to_vec()),
        _ => Err(TokenError::InvalidTarget),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::request::GrantRequest;
    use portcullis_identity::ids::TenantId;

    fn client() -> ServiceClient {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        ServiceClient {
            id: "svc-agent".to_owned(),
            tenant: "acme".parse().unwrap(),
            roles: words("reader writer"),
            scopes: words("a b"),
            audiences: words("portcullis other"),
            may_exchange: true,
            lifetime_s: 600,
            created_at_ms: 0,
            previous_until_ms: None,
            revoked_at_ms: None,
        }
    }

    fn ask(scopes: Option<&[&str]>, audiences: &[&str]) -> TokenRequest {
        let texts = |list: &[&str]| list.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        let grant = GrantRequest::ClientCredentials;
        TokenRequest { grant, scopes: scopes.map(texts), audiences: texts(audiences) }
    }

    fn ann() -> Principal {
        let mut principal = portcullis_identity::testing::identity("ann", "acme").principal;
        principal.roles = ["reader", "owner"].map(|r| Role::new(r).unwrap()).to_vec();
        principal.scopes = ["b", "c"].map(|s| Scope::new(s).unwrap()).to_vec();
        principal.expires_at = 1234;
        principal
    }

    #[test]
    fn a_client_gets_what_it_has_and_asks_for() {
        let all = client_credentials(&client(), &ask(None, &[])).unwrap();
        assert_eq!((all.scopes, all.audiences), (client().scopes, client().audiences));
        let one = client_credentials(&client(), &ask(Some(&["b"]), &["other"])).unwrap();
        assert_eq!((one.scopes, one.audiences), (vec!["b".to_owned()], vec!["other".to_owned()]));
        let none = client_credentials(&client(), &ask(Some(&[]), &[])).unwrap();
        assert_eq!(none.scopes, Vec::<String>::new());
        assert_eq!(client_credentials(&client(), &ask(Some(&["c"]), &[])), Err(TokenError::InvalidScope));
        assert_eq!(client_credentials(&client(), &ask(None, &["else"])), Err(TokenError::InvalidTarget));
    }

    #[test]
    fn acting_for_somebody_grants_what_both_have() {
        let grant = exchange(&client(), &ask(None, &[]), &ann()).unwrap();
        assert_eq!((grant.subject.as_str(), grant.tenant.as_str()), ("ann", "acme"));
        assert_eq!((grant.roles, grant.scopes), (vec!["reader".to_owned()], vec!["b".to_owned()]));
        assert_eq!((grant.actors, grant.ends_at_s), (vec!["svc-agent".to_owned()], 1234));
        for scope in ["a", "c"] {
            assert_eq!(exchange(&client(), &ask(Some(&[scope]), &[]), &ann()), Err(TokenError::InvalidScope));
        }
    }

    #[test]
    fn what_revokes_the_subjects_token_revokes_the_new_one() {
        let mut subject = ann();
        subject.session_id = Some("s-1".to_owned());
        subject.token_id = Some("t-1".to_owned());
        subject.key_id = Some(KeyId::new("k1").unwrap());
        subject.client_id = Some(ClientId::new("web").unwrap());
        let grant = exchange(&client(), &ask(None, &[]), &subject).unwrap();
        assert_eq!(grant.session_id.as_deref(), Some("s-1"));
        let user = "user:acme - ann";
        assert_eq!(grant.derived_from, [user, "jti:t-1", "kid:k1", "client:web"]);
        let acting = Principal { actors: vec![Subject::new("bob").unwrap()], ..subject.clone() };
        let foreign = exchange(&client(), &ask(None, &[]), &acting).unwrap().derived_from;
        assert_eq!(foreign.last().map(String::as_str), Some("user:acme - bob"));
        // A second exchange adds to the names and repeats none.
        subject.derived_from = grant.derived_from;
        subject.token_id = Some("t-2".to_owned());
        let again = exchange(&client(), &ask(None, &[]), &subject).unwrap().derived_from;
        assert_eq!(again, [user, "jti:t-1", "kid:k1", "client:web", "jti:t-2"]);
        subject.derived_from = (0..MAX_DERIVED_FROM).map(|n| ["jti:", &n.to_string()].concat()).collect();
        let refused = exchange(&client(), &ask(None, &[]), &subject).unwrap_err();
        assert_eq!(refused.code(), "invalid_grant");
        assert_eq!(
            client_credentials(&client(), &ask(None, &[])).unwrap().derived_from,
            Vec::<String>::new()
        );
    }

    #[test]
    fn who_may_not_act_for_somebody_does_not() {
        let plain = ServiceClient { may_exchange: false, ..client() };
        assert_eq!(exchange(&plain, &ask(None, &[]), &ann()), Err(TokenError::UnauthorizedClient));
        let stranger = Principal { tenant: TenantId::new("globex").unwrap(), ..ann() };
        assert_eq!(exchange(&client(), &ask(None, &[]), &stranger).unwrap_err().code(), "invalid_grant");
    }

    #[test]
    fn nobody_acts_for_themselves() {
        let own = Principal { subject: Subject::new("svc-agent").unwrap(), ..ann() };
        let acting = Principal { actors: vec![Subject::new("svc-agent").unwrap()], ..ann() };
        for subject in [own, acting] {
            assert_eq!(exchange(&client(), &ask(None, &[]), &subject).unwrap_err().code(), "invalid_grant");
        }
        let behind = ["agent-0", "svc-agent"].map(|name| Subject::new(name).unwrap()).to_vec();
        assert!(exchange(&client(), &ask(None, &[]), &Principal { actors: behind, ..ann() }).is_ok());
    }

    #[test]
    fn the_chain_of_actors_grows_in_front_and_is_bounded() {
        let actor = |n: usize| Subject::new(&["agent-", &n.to_string()].concat()).unwrap();
        let chain = |length: usize| Principal { actors: (0..length).map(actor).collect(), ..ann() };
        let grant = exchange(&client(), &ask(None, &[]), &chain(2)).unwrap();
        assert_eq!(grant.actors, ["svc-agent", "agent-0", "agent-1"]);
        assert!(exchange(&client(), &ask(None, &[]), &chain(7)).is_ok());
        assert_eq!(exchange(&client(), &ask(None, &[]), &chain(8)).unwrap_err().code(), "invalid_grant");
    }
}
