//! Reading a token request (RFC 6749 §4.4.2, RFC 8693 §2.1).

use std::collections::BTreeMap;

use base64::Engine;
use zeroize::Zeroizing;

use super::TokenError;

/// The grant of RFC 8693.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Token types that are exchanged, and given out (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Audiences that one request may name.
const MAX_AUDIENCES: usize = 16;

/// How a client proves itself.
pub(super) struct Credentials {
    /// Its id.
    pub(super) id: String,
    /// Its secret.
    pub(super) secret: Zeroizing<String>,
}

/// What a client asks for.
pub(super) struct TokenRequest {
    /// The grant.
    pub(super) grant: GrantRequest,
    /// Scopes; `None` for all that it may have.
    pub(super) scopes: Option<Vec<String>>,
    /// Audiences; empty for all that it may reach.
    pub(super) audiences: Vec<String>,
}

/// The grant that a client uses.
pub(super) enum GrantRequest {
    /// For itself.
    ClientCredentials,
    /// For the subject of this token.
    Exchange {
        /// The subject's token.
        subject_token: Zeroizing<String>,
    },
}

/// The members of a form. None but `audience` and `resource` may stand there twice (RFC 6749 §3.2).
pub(super) type Form = BTreeMap<String, Vec<Zeroizing<String>>>;

/// Reads a form.
///
/// # Errors
/// [`TokenError::InvalidRequest`] when a parameter is repeated.
pub(super) fn form(body: &[u8]) -> Result<Form, TokenError> {
    let mut form = Form::new();
    for (name, value) in form_urlencoded::parse(body) {
        // RFC 6749 §3.2: a parameter without a value counts as omitted.
        if !value.is_empty() {
            form.entry(name.into_owned()).or_default().push(Zeroizing::new(value.into_owned()));
        }
    }
    let repeated = |(name, values): (&String, &Vec<_>)| {
        values.len() > 1 && !matches!(name.as_str(), "audience" | "resource")
    };
    if form.iter().any(repeated) {
        return Err(TokenError::InvalidRequest("a parameter stands there twice"));
    }
    Ok(form)
}

fn one(form: &Form, name: &str) -> Option<Zeroizing<String>> {
    form.get(name).and_then(|values| values.first()).cloned()
}

/// The client's proof: HTTP Basic or the form, and not both (RFC 6749 §2.3).
///
/// # Errors
/// [`TokenError`] when there is none, or more than one.
pub(super) fn credentials(authorization: &[&str], form: &Form) -> Result<Credentials, TokenError> {
    let (posted_id, posted_secret) = (one(form, "client_id"), one(form, "client_secret"));
    let found = match (authorization, posted_secret) {
        ([], Some(secret)) => {
            let id = posted_id.ok_or(TokenError::InvalidRequest("client_id is missing"))?;
            Credentials { id: id.to_string(), secret }
        }
        ([header], None) => {
            let basic = basic(header).ok_or(TokenError::InvalidClient)?;
            if posted_id.is_some_and(|id| *id != basic.id) {
                return Err(TokenError::InvalidRequest("client_id is not that of the Authorization header"));
            }
            basic
        }
        ([], None) => return Err(TokenError::InvalidClient),
        _ => return Err(TokenError::InvalidRequest("the client proves itself in more than one way")),
    };
    let sound = (1..=128).contains(&found.id.len()) && found.id.bytes().all(|b| b.is_ascii_graphic());
    if sound { Ok(found) } else { Err(TokenError::InvalidClient) }
}

/// `client_secret_basic`: both parts are form-encoded within (RFC 6749 §2.3.1).
fn basic(header: &str) -> Option<Credentials> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = Zeroizing::new(base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?);
    let (id, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    let decode = |text: &str| {
        let pair = ["v=", text].concat();
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    // A raw `&` would end the value in a form; ids and secrets of this service hold none.
    if id.contains('&') || secret.contains('&') {
        return None;
    }
    Some(Credentials { id: decode(id)?, secret: Zeroizing::new(decode(secret)?) })
}

impl TokenRequest {
    /// Reads what is asked for.
    ///
    /// # Errors
    /// [`TokenError`] with what is wrong.
    pub(super) fn read(form: &Form) -> Result<Self, TokenError> {
        let grant = match one(form, "grant_type").as_deref().map(String::as_str) {
            Some("client_credentials") => GrantRequest::ClientCredentials,
            Some(EXCHANGE) => exchange(form)?,
            Some(_) => return Err(TokenError::UnsupportedGrantType),
            None => return Err(TokenError::InvalidRequest("grant_type is missing")),
        };
        let scopes = one(form, "scope")
            .map(|text| text.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect());
        let targets = ["audience", "resource"].into_iter().filter_map(|name| form.get(name)).flatten();
        let mut audiences: Vec<String> = targets.map(|value| value.to_string()).collect();
        audiences.sort_unstable();
        audiences.dedup();
        if audiences.len() > MAX_AUDIENCES {
            return Err(TokenError::InvalidRequest("more than 16 audiences"));
        }
        Ok(Self { grant, scopes, audiences })
    }
}

fn exchange(form: &Form) -> Result<GrantRequest, TokenError> {
    if form.contains_key("actor_token") || form.contains_key("actor_token_type") {
        return Err(TokenError::InvalidRequest("the actor is the client itself; send no actor_token"));
    }
    let known = |name: &str| one(form, name).map(|kind| [ACCESS_TOKEN, JWT].contains(&kind.as_str()));
    if known("subject_token_type") != Some(true) {
        return Err(TokenError::InvalidRequest(
            "subject_token_type must be that of an access token or a JWT",
        ));
    }
    if known("requested_token_type") == Some(false) {
        return Err(TokenError::InvalidRequest(
            "requested_token_type must be that of an access token or a JWT",
        ));
    }
    let missing = TokenError::InvalidRequest("subject_token is missing");
    Ok(GrantRequest::Exchange { subject_token: one(form, "subject_token").ok_or(missing)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prove(authorization: &[&str], body: &str) -> Result<(String, String), TokenError> {
        let proof = credentials(authorization, &form(body.as_bytes())?)?;
        Ok((proof.id.clone(), proof.secret.to_string()))
    }

    fn basic_of(pair: &str) -> String {
        ["Basic ", &base64::engine::general_purpose::STANDARD.encode(pair)].concat()
    }

    #[test]
    fn a_client_proves_itself_in_one_way() {
        let (good, invalid) = (Ok(("a:b".to_owned(), "s s".to_owned())), Err(TokenError::InvalidClient));
        assert_eq!(prove(&[&basic_of("a%3Ab:s+s")], ""), good);
        assert_eq!(prove(&[], "client_id=a%3Ab&client_secret=s+s"), good);
        assert_eq!(prove(&[&basic_of("a%3Ab:s+s")], "client_id=a%3Ab"), good);
        assert_eq!(prove(&[], "client_id=a"), invalid);
        assert_eq!(prove(&[], "client_id=&client_secret=x").unwrap_err().code(), "invalid_request");
        assert_eq!(prove(&["Bearer x"], ""), invalid);
        assert_eq!(prove(&["Basic ???"], ""), invalid);
        assert_eq!(prove(&[&basic_of("no colon")], ""), invalid);
        assert_eq!(prove(&[&basic_of("a&b=c:s")], ""), invalid);
        for (headers, body) in [
            (vec![basic_of("a:s")], "client_secret=s&client_id=a"),
            (vec![basic_of("a:s")], "client_id=b"),
            (vec![basic_of("a:s"), basic_of("a:s")], ""),
            (vec![], "client_id=a&client_secret=s&client_secret=s"),
        ] {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            assert_eq!(prove(&headers, body).unwrap_err().code(), "invalid_request", "{headers:?} {body}");
        }
    }

    fn ask(body: &str) -> Result<TokenRequest, &'static str> {
        form(body.as_bytes()).and_then(|form| TokenRequest::read(&form)).map_err(|e| e.code())
    }

    #[test]
    fn a_request_is_read_whole_or_refused() {
        let request =
            ask("grant_type=client_credentials&scope=a%20b&audience=x&audience=y&resource=x").unwrap();
        assert_eq!(request.scopes.unwrap(), ["a", "b"]);
        assert_eq!(request.audiences, ["x", "y"]);
        let exchange = |extra: &str| {
            let kind = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
            ask(&["grant_type=", kind, "&", extra].concat())
        };
        let kind = "subject_token_type=urn:ietf:params:oauth:token-type:jwt";
        let good = exchange(&["subject_token=t&", kind].concat()).unwrap();
        assert!(matches!(good.grant, GrantRequest::Exchange { subject_token } if *subject_token == "t"));
        for bad in [
            kind.to_owned(),
            "subject_token=t".to_owned(),
            "subject_token=t&subject_token_type=urn:ietf:params:oauth:token-type:saml2".to_owned(),
            ["subject_token=t&actor_token=u&", kind].concat(),
            ["subject_token=t&requested_token_type=urn:ietf:params:oauth:token-type:id_token&", kind]
                .concat(),
        ] {
            assert_eq!(exchange(&bad).err(), Some("invalid_request"), "{bad}");
        }
        assert_eq!(ask("").err(), Some("invalid_request"));
        assert_eq!(ask("grant_type=password").err(), Some("unsupported_grant_type"));
        assert_eq!(
            ask("grant_type=client_credentials&grant_type=client_credentials").err(),
            Some("invalid_request")
        );
    }
}
