use crate::enrolment::{MAX_JOIN_TOKENS, MAX_JOIN_TOKENS_KEPT};
use crate::made::Made;

/// Why something asked of the store is not done. These are answers, not failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The cluster id is taken, perhaps by a retired cluster.
    #[error("a cluster of this id exists already; ids are never used twice")]
    ClusterExists,
    /// There is no such cluster.
    #[error("there is no cluster of this id")]
    ClusterUnknown,
    /// The cluster was retired.
    #[error("the cluster has been retired for good; register a new one")]
    ClusterRetired,
    /// There is no such key.
    #[error("there is no API key of this id")]
    ApiKeyUnknown,
    /// The key was revoked, or has ended.
    #[error("the API key has been revoked or has ended; make a new one")]
    ApiKeyEnded,
    /// The client id is taken, perhaps by a revoked client.
    #[error("a service client of this id exists already; ids are never used twice")]
    ServiceClientExists,
    /// There is no such client.
    #[error("there is no service client of this id")]
    ServiceClientUnknown,
    /// The client was revoked.
    #[error("the service client has been revoked for good; make a new one")]
    ServiceClientRevoked,
    /// A new key waits already.
    #[error("a new key is published already and will sign soon; see the list of signing keys")]
    RotationUnderWay,
    /// There is no such administrator.
    #[error("there is no administrator of this id")]
    AdministratorUnknown,
    /// Whoever calls was let in, and was revoked before they got here.
    #[error("whoever calls was revoked meanwhile")]
    CallerRevoked,
    /// Without this one nobody could administer anything.
    #[error(
        "this is the last administrator whose token is good; make another one first (`portcullis admins create`), and revoke this one with the new token; where no token is at hand, `portcullis bootstrap-admin --break-glass` on the service's machine makes one"
    )]
    AdministratorLast,
    /// The audit log is not that long.
    #[error("the audit log has no entry of this index; they are numbered from 1")]
    EntryUnknown,
    /// The audit log has nothing of such a person.
    #[error(
        "the audit log has nothing of such a data subject; write tenant, issuer and subject as its records show them"
    )]
    SubjectUnknown,
    /// It is revoked already.
    #[error("this is revoked already")]
    RevocationExists,
    /// There is no such revocation.
    #[error("there is no such revocation")]
    RevocationUnknown,
    /// Who asks may do this elsewhere, and not here. Nothing is said about what is there.
    #[error("this is beyond the bounds of your role")]
    OutOfReach,
    /// The tenant has as much of it as it may have.
    #[error(
        "the tenant has {limit} {} or more, which is as many as its own administrators may make (tenantLimits.{}); end some, or ask the platform's administrators, who are not bound by it; what was made within the last 24 hours counts although it has ended",
        what.words(), what.as_str()
    )]
    LimitReached {
        /// What it is.
        what: Made,
        /// How many there may be.
        limit: u32,
    },
    /// The role lacks something that only shows when the thing itself is looked at.
    #[error(
        "an API key of source type human needs the permission api-keys:human, which your role does not have"
    )]
    HumanKey,
    /// There is no such join token.
    #[error("there is no join token of this id")]
    JoinTokenUnknown,
    /// The join token has expired, or was revoked.
    #[error("the join token has expired or was revoked; make a new one (`portcullis clusters join-token`)")]
    JoinTokenEnded,
    /// A certificate was issued by the join token.
    #[error(
        "a certificate was issued by this join token already, to another key or too long ago; if that was not you, revoke \
         the cluster's certificates; then make a new token (`portcullis clusters join-token`)"
    )]
    JoinTokenUsed,
    /// The cluster has as many as it may have.
    #[error(
        "the cluster has as many join tokens as it may have: {MAX_JOIN_TOKENS} that wait for their use, or \
         {MAX_JOIN_TOKENS_KEPT} of the last days; use or revoke some, or wait until some are forgotten a day after their end"
    )]
    JoinTokensMany,
    /// There is no such certificate.
    #[error("the cluster has no certificate of this serial number")]
    CertificateUnknown,
    /// The certificate was revoked.
    #[error("the certificate was revoked; join again by a new join token")]
    CertificateRevoked,
    /// The cluster was given many certificates lately.
    #[error("the cluster was given too many certificates lately; renew as late as renew_after_ms says")]
    CertificatesMany,
    /// Somebody above the caller did what the caller would undo.
    #[error("this was done by a higher authority than yours, which alone can take it back")]
    HeldAbove,
    /// Others below hold it, and nobody else lets go for them.
    #[error(
        "you hold nothing here; those who do, below you, take it back themselves: the cluster shows who they are"
    )]
    HeldBelow,
}
