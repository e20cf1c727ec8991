//! The way of a credential through the filters' own code, told step by step.

use std::fmt::Write as _;

use portcullis_authn::jws::Jws;
use portcullis_authn::{Credential, Presented, Rejected, Verified, api_key, introspection, revocable_names};
use portcullis_control_services::introspection::{Introspected, Providers};
use portcullis_control_services::judge::{self, Unjudged};
use portcullis_identity::Principal;
use portcullis_model::Reason;
use portcullis_model::fair::ClientNetwork;
use portcullis_model::state::SnapshotState;
use portcullis_source_type::classify;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// What is found out, line by line.
pub(super) struct Explanation<'a> {
    pub(super) snapshot: &'a SnapshotState,
    pub(super) providers: Providers,
    pub(super) now_s: u64,
    pub(super) text: String,
}

impl Explanation<'_> {
    /// A line: what, its value, and what follows from it.
    pub(super) fn line(&mut self, name: &str, value: &str, remark: &str) {
        let clean = |t: &str| -> String {
            t.chars()
                .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
                .collect()
        };
        let remark = if remark.is_empty() { String::new() } else { ["  (", remark, ")"].concat() };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{name:<14} {}{}", clean(value), clean(&remark));
    }

    pub(super) fn explain(&mut self, credential: &str) -> Result<Verified, Rejected> {
        let header = Zeroizing::new(["Bearer ", credential].concat());
        let mut presented = Presented::default();
        presented.authorization(header.as_bytes());
        match presented.credential()? {
            Credential::ApiKey(key) => {
                self.line("credential", "API key", "told by its prefix");
                let verified = api_key::verify(key, self.snapshot, self.now_s)?;
                self.principal(&verified.principal);
                self.revocation(&verified.principal)?;
                self.source_type(verified)
            }
            Credential::Bearer(token) => {
                let text = std::str::from_utf8(token).map_err(|_| Reason::CredentialMalformed)?;
                let verified = if introspection::is_opaque(token) {
                    self.opaque(text)?
                } else {
                    match Jws::parse(token) {
                        Ok(jws) => self.token(&jws),
                        Err(_) => self.line("credential", "JSON Web Token", "malformed, or no access token"),
                    }
                    self.judged(text)?
                };
                self.principal(&verified.principal);
                self.revocation(&verified.principal)?;
                self.source_type(verified)
            }
        }
    }

    /// Which revocation ends the credential, if any does.
    fn revocation(&mut self, principal: &Principal) -> Result<(), Rejected> {
        let names = revocable_names(principal, self.snapshot);
        match names.into_iter().find(|name| self.snapshot.is_revoked(name)) {
            None => Ok(()),
            Some(name) => {
                self.line("revoked by", &name, "see portcullis revocations list");
                Err(Rejected::of(Reason::CredentialRevoked, principal))
            }
        }
    }

    /// The verdict about a JSON Web Token, by its provider's word where its issuer wants that.
    fn judged(&mut self, text: &str) -> Result<Verified, Rejected> {
        let told = match judge::verified(text, self.snapshot, self.now_s, None) {
            Ok(verified) => return Ok(verified),
            Err(Unjudged::Refused(why)) => return Err(why),
            Err(Unjudged::Asks(provider)) => self.ask(&provider, text)?,
        };
        let body = Value::Object(told).to_string();
        judge::verified(text, self.snapshot, self.now_s, Some(body.as_bytes())).map_err(|unjudged| {
            match unjudged {
                Unjudged::Refused(reason) => reason,
                Unjudged::Asks(_) => Reason::IntrospectionUnavailable.into(),
            }
        })
    }

    /// Asks the provider about an opaque token, as a gateway would.
    fn opaque(&mut self, token: &str) -> Result<Verified, Rejected> {
        self.line("credential", "opaque token", "not a JSON Web Token");
        let Some(provider) = self.snapshot.introspection_of(token).cloned() else {
            self.line("provider", "none", "no introspection provider has this tokenPrefix");
            return Err(Reason::CredentialUnsupported.into());
        };
        let body = Value::Object(self.ask(&provider.name, token)?).to_string();
        introspection::judge(body.as_bytes(), &provider, self.now_s)
    }

    /// What a provider says of a token.
    fn ask(&mut self, provider: &str, token: &str) -> Result<Map<String, Value>, Rejected> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| Reason::IntrospectionUnavailable)?;
        let claims = match runtime.block_on(self.providers.ask(provider, token, ClientNetwork::Unknown)) {
            Ok(Introspected::Active(claims)) => claims,
            Ok(Introspected::Inactive) => {
                self.line("provider", provider, "says that the token is not active");
                return Err(Reason::TokenInactive.into());
            }
            Err(error) => {
                self.line("provider", provider, &error.to_string());
                return Err(Reason::IntrospectionUnavailable.into());
            }
        };
        self.line("provider", provider, "says that the token is active");
        for (name, value) in claims.iter().filter(|(name, _)| *name != "active") {
            self.line(name, &value.to_string(), "");
        }
        Ok(claims)
    }

    fn principal(&mut self, principal: &Principal) {
        let list = |items: Vec<&str>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
        self.line("speaks for", principal.subject.as_str(), principal.tenant.as_str());
        self.line(
            "by means of",
            principal.credential.as_str(),
            principal.key_id.as_ref().map_or("", |k| k.as_str()),
        );
        self.line("with roles", &list(principal.roles.iter().map(|r| r.as_str()).collect()), "");
        self.line("with scopes", &list(principal.scopes.iter().map(|s| s.as_str()).collect()), "");
        if principal.omitted > 0 || principal.roles_incomplete {
            let why =
                "no names here, too many, or not in the token: a policy that refuses by a role must mind it";
            self.line("left out", &principal.omitted.to_string(), why);
        }
        if !principal.actors.is_empty() {
            self.line("acted for by", &list(principal.actors.iter().map(|a| a.as_str()).collect()), "");
        }
    }

    fn source_type(&mut self, verified: Verified) -> Result<Verified, Rejected> {
        if let Some(fixed) = verified.source_type {
            self.line("source type", fixed.as_str(), "fixed by the API key");
            return Ok(verified);
        }
        let snapshot = self.snapshot;
        match classify(snapshot.source_rules(), &verified.principal, &verified.claims) {
            Some((kind, rule)) => {
                self.line("source type", kind.as_str(), &["rule ", &rule.name].concat());
                Ok(verified)
            }
            None => {
                let names: Vec<&str> =
                    snapshot.source_rules().rules.iter().map(|r| r.name.as_str()).collect();
                self.line("source type", "-", &["none of these rules fits: ", &names.join(", ")].concat());
                Err(Rejected::of(Reason::SourceTypeUnknown, &verified.principal))
            }
        }
    }

    pub(super) fn verdict(&mut self, outcome: &Result<Verified, Rejected>) {
        match outcome {
            Ok(verified) => {
                let ends = verified.principal.expires_at;
                let remark = if ends == u64::MAX {
                    "without an end".to_owned()
                } else {
                    ["for ", &ends.saturating_sub(self.now_s).to_string(), " s more"].concat()
                };
                self.line("verdict", "authenticated", &remark);
            }
            Err(why) => {
                if let Some(claim) = &why.claim {
                    self.line(
                        "at fault",
                        &claim.0,
                        "the claim is missing, or not as the issuer's rules want it",
                    );
                }
                let status = why.reason.status().to_string();
                self.line(
                    "verdict",
                    &["refused: ", why.reason.code()].concat(),
                    &["status ", &status].concat(),
                );
            }
        }
    }
}
