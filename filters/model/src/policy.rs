//! Policy documents that travel in the snapshot as JSON: issuers and source rules.

use portcullis_identity::ids::{IssuerId, Role, Scope, SpiffeId, TenantId};
use portcullis_identity::{CredentialKind, SourceType};
use serde::{Deserialize, Deserializer, Serialize};

use crate::claims::Scalar;
use crate::grants::Grants;
use crate::mapping::ClaimMapping;

/// An issuer of JSON Web Tokens and what is required of its tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerDocument {
    /// `iss` of the tokens, compared exactly; or a template of it; or the trust domain of JWT-SVIDs.
    pub issuer: IssuerId,
    /// Further values of `iss` that name the same issuer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<IssuerId>,
    /// Of a template: the values that its segment may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuer_values: Vec<String>,
    /// True when the tokens are JWT-SVIDs (SPIFFE) of the trust domain that is the issuer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub jwt_svid: bool,
    /// One of these must be among the token's `aud`.
    pub audiences: Vec<String>,
    /// Algorithms that this issuer may use (RFC 7518 §3.1 names). Nothing else is accepted.
    pub algorithms: Vec<Algorithm>,
    /// The issuer's keys (RFC 7517), as the control service fetched them last.
    pub jwks: Jwks,
    /// Allowed clock difference in seconds for `exp`, `nbf` and `iat`; at most 300.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u32,
    /// Greatest accepted age of a token in seconds, counted from `iat`; 0 for none.
    #[serde(default)]
    pub max_age_seconds: u32,
    /// Where the claims are.
    #[serde(default)]
    pub claims: ClaimMapping,
    /// What a good token of this issuer counts as: `jwt`, or `service_token` for the control service's own.
    #[serde(default = "default_credential")]
    pub credential: CredentialKind,
    /// Accepted `typ` values (RFC 7519 §5.1), compared without case and with or without `application/`; a
    /// token without `typ` is accepted only where this is empty, which stands for `jwt` and `at+jwt`.
    #[serde(default)]
    pub token_types: Vec<String>,
    /// True: tokens are taken as well whose own claims say that they are no access tokens (ID tokens, above all).
    /// Written only then, so that an older filter, which does not look, reads the rest of the time what it knows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub any_token_use: bool,
    /// Longest accepted token in bytes; 0 for the module's own limit, which is never exceeded.
    #[serde(default)]
    pub max_token_bytes: u32,
    /// Claims that must be there.
    #[serde(default)]
    pub required_claims: Vec<RequiredClaim>,
    /// The tenants for which the issuer may vouch; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantId>,
    /// The provider of introspection that is asked about each of its tokens once it is verified, by its name. What
    /// the provider says can only take away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<String>,
    /// True when the issuer has not confirmed its keys for longer than its configuration allows: every token
    /// is refused, whatever keys there are. Written only then, so that an older filter reads the rest of the
    /// time what it knows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keys_expired: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn default_credential() -> CredentialKind {
    CredentialKind::Jwt
}

/// A claim that a token must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredClaim {
    /// Path of member names, outermost first.
    pub claim: Vec<String>,
    /// Accepted values, one of which must be there; empty when any value but null will do, also `false`.
    #[serde(default)]
    pub any_of: Vec<Scalar>,
}

/// A provider that tells what an opaque access token stands for (RFC 7662). Filters ask it through the
/// control service, which alone holds the client secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntrospectionDocument {
    /// A name for answers, audit and metrics.
    pub name: String,
    /// What the identities are said to come from, for source rules.
    pub issuer: IssuerId,
    /// What every token of this provider begins with; at most one provider has none.
    #[serde(default)]
    pub token_prefix: String,
    /// One of these must be among the answer's `aud`.
    pub audiences: Vec<String>,
    /// Allowed clock difference in seconds for `exp`, `nbf` and `iat`; at most 300.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u32,
    /// Where the claims are.
    #[serde(default)]
    pub claims: ClaimMapping,
    /// Claims that must be there.
    #[serde(default)]
    pub required_claims: Vec<RequiredClaim>,
    /// The tenants for which the provider may vouch; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantId>,
    /// Another one for each configuration of the provider, its address included: what one of them said of a
    /// token is not taken for the word of the next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config_digest: String,
    /// How long an active token is taken as such without asking again, in seconds; 0–300, and never past
    /// its `exp`.
    pub active_seconds: u32,
    /// How long an inactive token is refused without asking again, in seconds; 0–60.
    pub inactive_seconds: u32,
}

/// The workloads whose mutual-TLS identity is a credential.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadsDocument {
    /// The workloads; no SPIFFE id twice.
    pub workloads: Vec<WorkloadEntry>,
}

/// What the holder of a SPIFFE id may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEntry {
    /// The URI in its certificate, exact.
    pub spiffe_id: SpiffeId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its roles.
    #[serde(default)]
    pub roles: Grants<Role>,
    /// Its scopes.
    #[serde(default)]
    pub scopes: Grants<Scope>,
}

/// How long a gateway waits for the control service to say what a provider says of a token, in milliseconds.
pub const INTROSPECTION_MS: u32 = 2_000;

/// The largest accepted `leewaySeconds`.
pub const MAX_LEEWAY_SECONDS: u32 = 300;

fn default_leeway() -> u32 {
    30
}

/// A signature algorithm that an issuer may be allowed to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// ECDSA with P-384 and SHA-384.
    ES384,
    /// ECDSA with P-521 and SHA-512.
    ES512,
    /// Ed25519 (RFC 8037).
    EdDSA,
    /// HMAC with SHA-256: a shared secret, so whoever verifies could also sign.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

impl Algorithm {
    /// The name in a token's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }
}

/// A JSON Web Key Set (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys; members that are not understood are kept out, as §5 asks.
    pub keys: Vec<Jwk>,
}

/// A public JSON Web Key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). Private members are not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// Key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The one algorithm that the key is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig` or `enc`.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// What the key may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// Curve, for `EC` and `OKP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// RSA modulus, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA exponent, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// First coordinate or public key, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Second coordinate, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// The issuer whose tokens the key signs: in sets that several share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl Jwk {
    /// Whether the issuer lets the key verify signatures (RFC 7517 §4.2, §4.3), in `svid` those of JWT-SVIDs, for which
    /// SPIFFE has a use of its own.
    #[must_use]
    pub fn may_verify(&self, svid: bool) -> bool {
        let is_usual = |usage: &str| usage == "sig" || (svid && usage == "jwt-svid");
        self.key_use.as_deref().is_none_or(is_usual)
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
    }
}

/// The ordered rules that tell a source type from verified facts. The first that fits decides; none:
/// refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceRulesDocument {
    /// The rules, in order.
    pub rules: Vec<SourceRule>,
}

/// One rule: all conditions that are given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceRule {
    /// A name for audit and explanation.
    pub name: String,
    /// The source type that the rule gives.
    pub source_type: SourceType,
    /// The conditions.
    #[serde(default)]
    pub when: SourceConditions,
}

/// Conditions over verified facts. A list holds when one of its members does, so one without members never does:
/// only a condition that is not there at all holds for everybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceConditions {
    /// Credential kinds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub credential: Option<Vec<CredentialKind>>,
    /// Issuers, exact.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub issuer: Option<Vec<IssuerId>>,
    /// OAuth clients, exact.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub client_id: Option<Vec<String>>,
    /// SPIFFE ids of the mutual-TLS peer, exact. Known only to plugins with `workload: true`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub spiffe_id: Option<Vec<SpiffeId>>,
    /// Roles that the credential grants.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub role: Option<Vec<Role>>,
    /// Scopes that the credential grants.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub scope: Option<Vec<Scope>>,
    /// Claims that must have one of the given values: all of them.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub claims: Option<Vec<ClaimCondition>>,
    /// True: the token must name an actor (`act`); false: it must not.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub delegated: Option<bool>,
}

/// Reads what is there; a null is not nothing but a mistake.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A claim and the values that satisfy the condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimCondition {
    /// Path of member names, outermost first.
    pub claim: Vec<String>,
    /// Accepted values; a claim that is a list satisfies it with one member.
    pub any_of: Vec<Scalar>,
}
