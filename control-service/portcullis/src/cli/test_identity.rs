//! Identity tokens for the tests of Data APIs in any language, made without a service.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::random::random;
use portcullis_identity::ids::{InvalidId, Role, Scope, Subject};
use portcullis_identity::{ClusterId, KeyId, MAX_LIFETIME_S, Minter, SourceType, testing};
use portcullis_protocol::audit::{hex, unhex};
use zeroize::Zeroizing;

/// What to make.
#[derive(Debug, Args)]
pub(super) struct TestIdentity {
    /// File with the test key; made when it is not there. Never a key of a gateway.
    #[arg(long)]
    key_file: PathBuf,
    /// Print the key set that verifies the tokens, and no token.
    #[arg(long)]
    jwks: bool,
    /// `iss`.
    #[arg(long, default_value = "https://portcullis.test/identity")]
    issuer: String,
    /// The cluster that the token is for.
    #[arg(long, default_value = "test")]
    cluster: ClusterId,
    /// Whom it speaks for.
    #[arg(long, default_value = "ann@example.com")]
    subject: String,
    /// Their tenant.
    #[arg(long, default_value = "acme")]
    tenant: String,
    /// human, worker or `mcp_agent`.
    #[arg(long, default_value = "human", value_parser = source_type)]
    source_type: SourceType,
    /// A role; may be given several times.
    #[arg(long = "role")]
    roles: Vec<Role>,
    /// A scope; may be given several times.
    #[arg(long = "scope")]
    scopes: Vec<Scope>,
    /// Who acts for the subject, the current actor first; may be given several times.
    #[arg(long = "actor")]
    actors: Vec<Subject>,
    /// Seconds by which its times lie in the past: to test that a late token is refused.
    #[arg(long, default_value_t = 0)]
    age: u64,
}

/// Reads a source type.
pub(super) fn source_type(name: &str) -> Result<SourceType, String> {
    SourceType::from_name(name).ok_or_else(|| "write human, worker or mcp_agent".to_owned())
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum TestIdentityError {
    /// The key file cannot be used.
    #[error("the test key {0} cannot be used: {1}")]
    KeyFile(PathBuf, String),
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidId),
}

impl TestIdentity {
    /// The token, or the key set.
    pub(super) fn run(self) -> Result<String, TestIdentityError> {
        let minter = Minter::new(*self.seed()?, KeyId::new("test")?, &self.issuer, MAX_LIFETIME_S);
        if self.jwks {
            return Ok(minter.jwks().to_string());
        }
        // Checked before, because the kit stops at names that are not valid.
        Subject::new(&self.subject)?;
        portcullis_identity::TenantId::new(&self.tenant)?;
        let mut identity = testing::identity(&self.subject, &self.tenant);
        identity.source_type = self.source_type;
        identity.principal.roles = self.roles;
        identity.principal.scopes = self.scopes;
        identity.principal.actors = self.actors;
        let now_s = (now_ms() / 1000).saturating_sub(self.age);
        Ok(minter.mint(&identity, &self.cluster, now_s).text)
    }

    fn seed(&self) -> Result<Zeroizing<[u8; 32]>, TestIdentityError> {
        let fail = |problem: String| TestIdentityError::KeyFile(self.key_file.clone(), problem);
        match std::fs::read_to_string(&self.key_file) {
            Ok(text) => {
                let seed = unhex(Zeroizing::new(text).trim()).and_then(|b| <[u8; 32]>::try_from(b).ok());
                seed.map(Zeroizing::new)
                    .ok_or_else(|| fail("it does not hold 32 bytes in hexadecimal".to_owned()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let seed = Zeroizing::new(random::<32>());
                let mut options = std::fs::OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&self.key_file);
                let written =
                    file.and_then(|mut file| file.write_all(Zeroizing::new(hex(&*seed)).as_bytes()));
                written.map(|()| seed).map_err(|e| fail(e.to_string()))
            }
            Err(e) => Err(fail(e.to_string())),
        }
    }
}
