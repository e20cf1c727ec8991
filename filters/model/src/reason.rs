//! Why a request was refused: the stable codes.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// Why a request was refused: a stable code, the HTTP status (RFC 9110) and a title for people
        /// (RFC 9457 §3.1.4). The codes are an interface: they never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason there is, for documentation and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The codes of [`Self::ALL`], in the same order: `reason as usize` is a reason's place.
            pub const CODES: &'static [&'static str] = &[$($code,)*];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str { match self { $(Self::$name => $code,)* } }

            /// The HTTP status of the refusal.
            #[must_use]
            pub fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }

            /// A short title for people; the same for every occurrence.
            #[must_use]
            pub fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }

            /// Reads a code back.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A security-relevant header is malformed, not text, or given twice.
    HeaderInvalid = "header_invalid", 400, "A security-relevant header is malformed or given more than once";
    /// More than one credential in one request.
    CredentialAmbiguous = "credential_ambiguous", 400, "Exactly one credential may be sent with a request";
    /// Host, path and header name different clusters.
    ClusterAmbiguous = "cluster_ambiguous", 400, "Host, path and header disagree about the cluster";
    /// Neither host nor path nor header names a cluster.
    ClusterMissing = "cluster_missing", 400, "The request names no cluster";
    /// The host is one of the platform's own, and has no such path.
    PathUnknown = "path_unknown", 404, "There is no such path at this host";
    /// The host is one of the platform's own, where connections are not handed over to another protocol.
    UpgradeRefused = "upgrade_refused", 403, "This host takes no upgrade to another protocol";
    /// A method that no upstream ever gets.
    MethodRefused = "method_refused", 501, "This method is not supported";
    /// An endpoint of the platform is there, but not for this method.
    MethodNotAllowed = "method_not_allowed", 405, "This endpoint has another method";
    /// A stage has to see the body, and it is longer than that stage reads.
    BodyTooLarge = "body_too_large", 413, "The request's body is too large";
    /// A browser's preflight that the policy does not answer.
    PreflightRefused = "preflight_refused", 403, "This cross-origin request is not allowed";
    /// A cookie is the credential, and nothing says that one of the cluster's own pages sent the request.
    CrossSiteRefused = "cross_site_refused", 403, "A cookie counts only for requests of the cluster's own pages";
    /// No credential at all.
    CredentialMissing = "credential_missing", 401, "A credential is required";
    /// A credential that cannot be read.
    CredentialMalformed = "credential_malformed", 401, "The credential is malformed";
    /// A credential over the size limit.
    CredentialTooLarge = "credential_too_large", 401, "The credential is too large";
    /// A credential kind that is not accepted here.
    CredentialUnsupported = "credential_unsupported", 401, "This kind of credential is not accepted here";
    /// The token's issuer is not configured.
    IssuerUnknown = "issuer_unknown", 401, "The token's issuer is not known";
    /// The issuer has no key of that `kid`.
    KeyUnknown = "key_unknown", 401, "The token's key is not known";
    /// The token's `alg` is not the one that its key and issuer allow.
    AlgorithmNotAllowed = "algorithm_not_allowed", 401, "The token's algorithm is not allowed";
    /// The signature does not verify.
    SignatureInvalid = "signature_invalid", 401, "The token's signature is not valid";
    /// `exp` has passed.
    TokenExpired = "token_expired", 401, "The token has expired";
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid = "token_not_yet_valid", 401, "The token is not valid yet";
    /// The token is meant for somebody else.
    AudienceMismatch = "audience_mismatch", 401, "The token is meant for another audience";
    /// The token speaks for a tenant for which its issuer may not vouch.
    TenantNotAllowed = "tenant_not_allowed", 401, "The token's issuer may not vouch for this tenant";
    /// A claim that the issuer's policy requires is missing or of the wrong form.
    ClaimInvalid = "claim_invalid", 401, "A required claim is missing or malformed";
    /// No such API key.
    ApiKeyUnknown = "api_key_unknown", 401, "The API key is not known";
    /// The provider says that the token is not active (RFC 7662 §2.2).
    TokenInactive = "token_inactive", 401, "The token is not active";
    /// An open stream's credential is judged anew, and speaks for somebody else, or with other rights.
    IdentityChanged = "identity_changed", 401, "What the credential stands for has changed";
    /// The mutual-TLS peer is the only credential, and no workload of that name is known.
    WorkloadUnknown = "workload_unknown", 401, "The workload is not known";
    /// The credential, its session, key, subject or client was revoked.
    CredentialRevoked = "credential_revoked", 401, "The credential has been revoked";
    /// A stage runs alone and nobody authenticated the request before it.
    IdentityMissing = "identity_missing", 401, "The request carries no verified identity";
    /// The forwarded identity token does not verify.
    IdentityInvalid = "identity_invalid", 401, "The forwarded identity does not verify";
    /// No source rule fits the verified facts.
    SourceTypeUnknown = "source_type_unknown", 403, "No rule tells the source type of this caller";
    /// The credential does not grant every scope that the cluster asks for (RFC 6750 §3.1).
    InsufficientScope = "insufficient_scope", 403, "The credential lacks a scope that is needed here";
    /// The cluster does not exist, or belongs to another tenant.
    ClusterUnknown = "cluster_unknown", 404, "There is no such cluster";
    /// An operator suspended the cluster.
    ClusterSuspended = "cluster_suspended", 403, "The cluster is suspended";
    /// The cluster was retired for good.
    ClusterRetired = "cluster_retired", 410, "The cluster has been retired";
    /// The cluster has registered but never been online.
    ClusterPending = "cluster_pending", 503, "The cluster is not online yet";
    /// The cluster does not report.
    ClusterOffline = "cluster_offline", 503, "The cluster is offline";
    /// The request was let on and no answer came: no tunnel, no connection, or one that ended.
    ClusterUnreachable = "cluster_unreachable", 503, "The cluster did not answer";
    /// This worker has not received its first snapshot.
    SnapshotMissing = "snapshot_missing", 503, "The gateway has no policy yet";
    /// The snapshot is older than allowed.
    SnapshotStale = "snapshot_stale", 503, "The gateway's policy is out of date";
    /// The plugin's configuration is not valid.
    Misconfigured = "misconfigured", 503, "The gateway is misconfigured";
    /// The token's provider could not be asked, or gave no answer that can be trusted.
    IntrospectionUnavailable = "introspection_unavailable", 503, "The token cannot be checked at present";
    /// As many tokens are being checked as may be at a time.
    IntrospectionBusy = "introspection_busy", 503, "Too many tokens are being checked at present";
    /// The token names no key, its issuer has several, and as many signatures as may be were tried in vain.
    VerificationBusy = "verification_busy", 503, "Too many signatures are being checked at present";
    /// The issuer has not confirmed its keys for longer than its configuration allows.
    IssuerKeysExpired = "issuer_keys_expired", 503, "The keys of the token's issuer are out of date";
    /// Audit records cannot be stored at present.
    AuditBacklog = "audit_backlog", 503, "The gateway cannot record this request at present";
    /// Something in the gateway failed.
    Internal = "internal", 503, "The gateway could not decide";
}

impl Reason {
    /// Seconds after which a client may try again (RFC 9110 §10.2.3), for the reasons where that helps.
    #[must_use]
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::ClusterPending | Self::ClusterOffline | Self::ClusterUnreachable => Some(10),
            Self::SnapshotMissing | Self::SnapshotStale | Self::AuditBacklog | Self::Internal => Some(2),
            Self::IntrospectionUnavailable => Some(2),
            Self::IssuerKeysExpired => Some(10),
            Self::IntrospectionBusy | Self::VerificationBusy => Some(1),
            Self::Misconfigured => Some(30),
            _ => None,
        }
    }

    /// True when the client lacks a valid credential, so that RFC 9110 §11.6.1 asks for
    /// `WWW-Authenticate`, or a scope, which is told there as well.
    #[must_use]
    pub fn wants_challenge(self) -> bool {
        self.status() == 401 || self == Self::InsufficientScope
    }

    /// The RFC 6750 §3.1 error code for a bearer challenge; `None` when no credential was sent.
    #[must_use]
    pub fn bearer_error(self) -> Option<&'static str> {
        match self {
            Self::CredentialMissing | Self::IdentityMissing | Self::WorkloadUnknown => None,
            Self::InsufficientScope => Some("insufficient_scope"),
            r if r.status() == 401 => Some("invalid_token"),
            r if r.status() == 400 => Some("invalid_request"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }

    #[test]
    fn every_503_says_when_to_try_again() {
        for reason in Reason::ALL.iter().filter(|r| r.status() == 503) {
            assert!(reason.retry_after().is_some(), "{}", reason.code());
        }
    }
}
