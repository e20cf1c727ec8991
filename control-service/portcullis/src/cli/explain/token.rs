//! What a JSON Web Token says, beside what the policy says of it. Nothing here decides.

use portcullis_authn::jws::Jws;
use portcullis_model::claims::{DERIVED_FROM, claim, other_use};
use portcullis_model::mapping::{ClaimPath, Found, TenantRule};
use portcullis_model::policy::IssuerDocument;
use portcullis_model::state::TokenIssuer;
use serde_json::Value;

use super::explanation::Explanation;

impl Explanation<'_> {
    /// The token's header and claims, each with what the policy says of it. Nothing here decides.
    pub(super) fn token(&mut self, jws: &Jws<'_>) {
        self.line("credential", "JSON Web Token", "");
        let shown = jws.claims.get("iss").map_or_else(|| "-".to_owned(), Value::to_string);
        let issuer = TokenIssuer::of(&jws.claims, self.snapshot);
        let document = issuer.as_ref().map(|issuer| issuer.document.clone());
        let remark = issuer
            .map_or_else(|| "not configured".to_owned(), |of| ["configured as ", of.name.as_str()].concat());
        self.line("iss", &shown, &remark);
        let Some(document) = document else { return };
        let allowed = document.algorithms.iter().any(|a| a.as_str() == jws.algorithm);
        self.line("alg", &jws.algorithm, if allowed { "allowed" } else { "not allowed for this issuer" });
        if let Some(claim) = other_use(&jws.claims) {
            let taken =
                if document.any_token_use { "taken all the same" } else { "refused; `anyTokenUse` takes it" };
            self.line("token use", claim, &["the claim says that this is no access token: ", taken].concat());
        }
        self.key(jws, &document);
        self.claims(jws, &document);
    }

    fn key(&mut self, jws: &Jws<'_>, document: &IssuerDocument) {
        if self.snapshot.issuer_secret(document.issuer.as_str()).is_some() {
            return self.line("kid", jws.key_id.as_deref().unwrap_or("-"), "the issuer has a shared secret");
        }
        let known: Vec<&str> = document.jwks.keys.iter().filter_map(|k| k.kid.as_deref()).collect();
        match jws.key_id.as_deref() {
            Some(kid) if known.contains(&kid) => self.line("kid", kid, "known"),
            Some(kid) => {
                let remark =
                    "not known; `portcullis issuers` tells which keys are left out, and why; known are ";
                self.line("kid", kid, &[remark, &known.join(", ")].concat());
            }
            None => self.line("kid", "-", "the keys of this algorithm are tried"),
        }
    }

    fn claims(&mut self, jws: &Jws<'_>, document: &IssuerDocument) {
        let claims = &jws.claims;
        let shown = |value: Option<&Value>| value.map_or_else(|| "-".to_owned(), Value::to_string);
        let audiences = ["accepted: ", &document.audiences.join(", ")].concat();
        self.line("aud", &shown(claims.get("aud")), &audiences);
        let leeway = ["leeway ", &document.leeway_seconds.to_string(), " s"].concat();
        for name in ["exp", "nbf", "iat"] {
            let remark = match claims.get(name).and_then(Value::as_f64) {
                None => String::new(),
                Some(time) => [relative(time, self.now_s).as_str(), &leeway].join(", "),
            };
            self.line(name, &shown(claims.get(name)), &remark);
        }
        let mapping = &document.claims;
        let mut mapped = |what: &str, path: &ClaimPath| {
            let value = match path.find(claims) {
                Found::Absent => "-".to_owned(),
                Found::Malformed => "no object on the way".to_owned(),
                Found::Value(value) => value.to_string(),
            };
            self.line(what, &value, &["claim ", &path.to_string()].concat());
        };
        mapping.subject.claims().for_each(|path| mapped("subject", path));
        mapping.tenant.claims().for_each(|path| mapped("tenant", path));
        mapping.roles.claims().for_each(|path| mapped("roles", path));
        mapping.scopes.claims().for_each(|path| mapped("scopes", path));
        mapping.client_id.iter().for_each(|path| mapped("client", path));
        if let TenantRule::Fixed(tenant) = &mapping.tenant {
            self.line("tenant", tenant.as_str(), "fixed for this issuer");
        }
        for required in &document.required_claims {
            let wanted = match required.any_of.as_slice() {
                [] => "required".to_owned(),
                values => {
                    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                    format!("required, one of {}", values.join(", "))
                }
            };
            self.line(&required.claim.join(" > "), &shown(claim(claims, &required.claim)), &wanted);
        }
        for name in ["act", "jti", "sid", DERIVED_FROM] {
            if let Some(value) = claims.get(name) {
                self.line(name, &value.to_string(), "");
            }
        }
    }
}

/// How far a time lies from now.
#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
fn relative(time: f64, now_s: u64) -> String {
    let seconds = time - now_s as f64;
    if seconds < 0.0 { format!("{:.0} s ago", -seconds) } else { format!("in {seconds:.0} s") }
}
