//! What is the same for every kind of credential.

use portcullis_engine::cache::KeyDigest;
use portcullis_identity::{Principal, SourceType};
use portcullis_model::claims::Claims;
use portcullis_model::policy::SourceRulesDocument;

/// The name of this crate's stages.
pub(crate) const STAGE: &str = "authn";

/// Tells the source type of what was verified; `None` where no rule fits. The rules are the source-type
/// stage's, and are asked while the claims are at hand: they are not kept.
pub type Classify = fn(&SourceRulesDocument, &Principal, &Claims) -> Option<SourceType>;

/// The longest credential that is read, in bytes.
pub const MAX_CREDENTIAL_LEN: usize = 8192;

/// What a good credential says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The principal.
    pub principal: Principal,
    /// All claims of a token, for the source rules; empty for an API key.
    pub claims: Claims,
    /// The source type, where the credential itself fixes it (an API key).
    pub source_type: Option<SourceType>,
    /// The key that verified a token.
    pub key: Option<KeyDigest>,
}

/// Kinds of credentials in the cache of identities: the same bytes of another kind are another credential.
pub(crate) mod kind {
    pub(crate) const BEARER: u8 = 1;
    pub(crate) const API_KEY: u8 = 2;
    pub(crate) const FORWARDED: u8 = 3;
    pub(crate) const WORKLOAD: u8 = 4;
    pub(crate) const OPAQUE: u8 = 5;
    pub(crate) const BEARER_OF_PEER: u8 = 6;
    pub(crate) const API_KEY_OF_PEER: u8 = 7;
}
