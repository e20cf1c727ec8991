//! Who is asking: names, identities, and the token by which a Portcullis gateway forwards them:
//! `x-portcullis-identity`, a short-lived JSON Web Token (RFC 7519) signed with Ed25519 (RFC 8037), of a
//! `typ` of its own (RFC 8725 §3.11).
//!
//! A Data API depends on this crate alone: it knows of no policy and of no message between filters and
//! control service.
//!
//! A Data API trusts this one header:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use portcullis_identity::{ClusterId, KeyId, Minter, Verifier};
//! # let minter = Minter::new([7; 32], KeyId::new("k1")?, "https://platform.example", 60);
//! # let jwks = minter.jwks().to_string();
//! # let cluster = ClusterId::new("acme-hosted")?;
//! # let identity = portcullis_identity::testing::identity("ann", "acme");
//! # let now = 1_800_000_000;
//! # let header = minter.mint(&identity, &cluster, now).text;
//! let verifier = Verifier::from_jwks(&jwks, "https://platform.example", cluster)?;
//! let caller = verifier.verify(&header, now)?;
//! assert_eq!(caller.subject.as_str(), "ann");
//! # Ok(()) }
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod identity;
pub mod ids;
mod live;
mod mint;
mod token;
mod verify;

pub mod testing;

pub use identity::{CredentialKind, Identity, Principal, SourceType};
pub use ids::{ClusterId, KeyId, SpiffeId, TenantId};
pub use live::LiveVerifier;
pub use mint::{Minted, Minter};
pub use token::{HEADER, MAX_ACTORS, MAX_LIFETIME_S, MAX_TOKEN_LEN, TOKEN_TYPE};
pub use verify::{VerifiedIdentity, Verifier, VerifyError, verify_with};
