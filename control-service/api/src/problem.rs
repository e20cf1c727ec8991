//! Errors of the HTTP APIs: RFC 9457 problem documents with a stable `reason`.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_control_contract::{Invalid, ProblemDocument};
use portcullis_control_domain::Refused;
use portcullis_control_store::StoreError;

macro_rules! problem_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// What can be wrong with a call. The codes are an interface: they never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemKind { $($(#[$doc])* $name,)* }

        impl ProblemKind {
            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str { match self { $(Self::$name => $code,)* } }

            pub(crate) fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }

            pub(crate) fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
        }
    };
}

problem_kinds! {
    /// No bearer token.
    TokenMissing = "token_missing", 401, "A bearer token is required";
    /// Not a token of this API.
    TokenInvalid = "token_invalid", 401, "The bearer token is not valid";
    /// Not the mesh token.
    MeshTokenInvalid = "mesh_token_invalid", 401, "The mesh token is missing or not valid";
    /// The caller's principal cannot be told.
    PrincipalMissing = "principal_missing", 403, "The caller's mesh identity cannot be told";
    /// The caller's principal is not configured.
    PrincipalUnknown = "principal_unknown", 403, "The caller's mesh identity is not known here";
    /// The caller may not read this view.
    ViewForbidden = "view_forbidden", 403, "The caller may not read this view";
    /// The caller's role does not have the permission.
    PermissionDenied = "permission_denied", 403, "The caller's role does not permit this";
    /// Somebody above the caller did what the caller would undo.
    HeldAbove = "held_above", 403, "A higher authority than the caller's holds this";
    /// Those below hold it, and let go themselves.
    HeldBelow = "held_below", 403, "Others than the caller hold this, and let go themselves";
    /// A sidecar's calls are as many as it may have open.
    ShareTaken = "share_taken", 503, "As many calls of this caller are open as it may have";
    /// A poll's parameters are not right.
    PollInvalid = "poll_invalid", 400, "The poll is malformed";
    /// Not an audit batch.
    BatchInvalid = "batch_invalid", 400, "The audit batch is malformed";
    /// The body is not right.
    BodyInvalid = "body_invalid", 400, "The body is not valid";
    /// Too many calls without a valid token came from this address.
    TooManyRefusals = "too_many_refusals", 429, "Too many calls without a valid token";
    /// The body does not come.
    BodyTooSlow = "body_too_slow", 408, "The body did not come in time";
    /// A path or query parameter is not right.
    ParameterInvalid = "parameter_invalid", 400, "A parameter is not valid";
    /// No such path.
    NotFound = "not_found", 404, "There is nothing here";
    /// The path does not know this method.
    MethodNotAllowed = "method_not_allowed", 405, "This method is not allowed here";
    /// No such cluster.
    ClusterUnknown = "cluster_unknown", 404, "There is no such cluster";
    /// Not a join token of this service.
    JoinTokenInvalid = "join_token_invalid", 401, "The join token is not valid";
    /// No such join token.
    JoinTokenUnknown = "join_token_unknown", 404, "There is no such join token";
    /// The join token has expired, or was revoked.
    JoinTokenEnded = "join_token_ended", 410, "The join token has ended";
    /// A certificate was issued by the join token.
    JoinTokenUsed = "join_token_used", 410, "The join token has been used";
    /// The cluster has as many join tokens as it may have.
    JoinTokensMany = "join_tokens_many", 409, "The cluster has as many join tokens as it may have";
    /// A certificate is needed.
    CertificateMissing = "certificate_missing", 401, "A client certificate is required";
    /// Not a certificate of this service.
    CertificateInvalid = "certificate_invalid", 401, "The client certificate is not known here";
    /// The certificate was revoked.
    CertificateRevoked = "certificate_revoked", 401, "The certificate has been revoked";
    /// No such certificate.
    CertificateUnknown = "certificate_unknown", 404, "There is no such certificate";
    /// The cluster was given many certificates lately.
    CertificatesMany = "certificates_many", 429, "Too many certificates were issued lately";
    /// The request for a certificate is not right.
    RequestInvalid = "request_invalid", 400, "The certificate signing request is not valid";
    /// The authority of certificates cannot be used.
    AuthorityFailed = "authority_failed", 503, "The authority of certificates cannot be used at present";
    /// No such API key.
    ApiKeyUnknown = "api_key_unknown", 404, "There is no such API key";
    /// The API key has ended.
    ApiKeyEnded = "api_key_ended", 410, "The API key has ended";
    /// No such service client.
    ServiceClientUnknown = "service_client_unknown", 404, "There is no such service client";
    /// The service client's id is taken.
    ServiceClientExists = "service_client_exists", 409, "The service client exists already";
    /// The service client was revoked.
    ServiceClientRevoked = "service_client_revoked", 410, "The service client has been revoked";
    /// A change of key is under way.
    RotationUnderWay = "rotation_under_way", 409, "A change of key is under way";
    /// No such introspection provider.
    ProviderUnknown = "provider_unknown", 404, "There is no such introspection provider";
    /// The provider is asked too much at once.
    ProviderBusy = "provider_busy", 503, "The introspection provider is asked too much at once";
    /// The provider cannot be asked.
    ProviderFailed = "provider_failed", 502, "The introspection provider cannot be asked";
    /// No such issuer, or its keys are not fetched.
    IssuerUnknown = "issuer_unknown", 404, "There is no such issuer";
    /// The issuer was asked for its keys too recently.
    RefreshTooSoon = "refresh_too_soon", 429, "The issuer was asked for its keys too recently";
    /// The issuer's keys cannot be fetched.
    RefreshFailed = "refresh_failed", 502, "The issuer's keys cannot be fetched";
    /// No such revocation.
    RevocationUnknown = "revocation_unknown", 404, "There is no such revocation";
    /// No such entry of the audit log.
    EntryUnknown = "entry_unknown", 404, "There is no such entry of the audit log";
    /// No such data subject.
    SubjectUnknown = "subject_unknown", 404, "The audit log has nothing of such a data subject";
    /// The cluster id is taken.
    ClusterExists = "cluster_exists", 409, "The cluster exists already";
    /// No such administrator.
    AdministratorUnknown = "administrator_unknown", 404, "There is no such administrator";
    /// The last administrator.
    AdministratorLast = "administrator_last", 409, "The last administrator cannot be revoked";
    /// The tenant's administrators may make no more of it.
    LimitReached = "limit_reached", 409, "The tenant has as many of these as it may make";
    /// Already revoked.
    RevocationExists = "revocation_exists", 409, "The revocation exists already";
    /// The cluster was retired.
    ClusterRetired = "cluster_retired", 410, "The cluster has been retired";
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is not JSON.
    MediaTypeUnsupported = "media_type_unsupported", 415, "The body must be application/json";
    /// Tokens of people are judged one after the other, and too many wait.
    CallersBusy = "callers_busy", 503, "Too many callers are being looked at";
    /// It is not certain that this replica has everything.
    ReplicaBehind = "replica_behind", 503, "This replica may not have everything";
    /// The store was restored from a backup and lacks what came after it.
    StoreRecovering = "store_recovering", 503, "The store was restored from a backup and is closed until it has recovered";
    /// The store cannot be used.
    StoreUnavailable = "store_unavailable", 503, "The store cannot be used at present";
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    retry_after_s: Option<u64>,
}

/// Left in the extensions of a response, for the audit record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReasonOf(pub(crate) &'static str);

impl Problem {
    /// A problem; `detail` tells the caller what to change.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after_s: None }
    }

    /// The same, with how long to wait before the next try.
    #[must_use]
    pub(crate) fn retry_after(self, pause: Duration) -> Self {
        Self { retry_after_s: Some(pause.as_secs() + 1), ..self }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// A query parameter that is not right.
    #[must_use]
    pub fn parameter(invalid: Invalid) -> Self {
        Self::new(ProblemKind::ParameterInvalid, invalid.0)
    }

    /// A field of the body that is not right.
    #[must_use]
    pub fn body(invalid: Invalid) -> Self {
        Self::new(ProblemKind::BodyInvalid, invalid.0)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Refused(refused) => match refused {
                Refused::ClusterExists => ProblemKind::ClusterExists,
                Refused::ClusterUnknown => ProblemKind::ClusterUnknown,
                Refused::ClusterRetired => ProblemKind::ClusterRetired,
                Refused::JoinTokenUnknown => ProblemKind::JoinTokenUnknown,
                Refused::JoinTokenEnded => ProblemKind::JoinTokenEnded,
                Refused::JoinTokenUsed => ProblemKind::JoinTokenUsed,
                Refused::JoinTokensMany => ProblemKind::JoinTokensMany,
                Refused::CertificateUnknown => ProblemKind::CertificateUnknown,
                Refused::CertificateRevoked => ProblemKind::CertificateRevoked,
                Refused::CertificatesMany => ProblemKind::CertificatesMany,
                Refused::ApiKeyUnknown => ProblemKind::ApiKeyUnknown,
                Refused::ApiKeyEnded => ProblemKind::ApiKeyEnded,
                Refused::ServiceClientExists => ProblemKind::ServiceClientExists,
                Refused::ServiceClientUnknown => ProblemKind::ServiceClientUnknown,
                Refused::ServiceClientRevoked => ProblemKind::ServiceClientRevoked,
                Refused::RotationUnderWay => ProblemKind::RotationUnderWay,
                Refused::CallerRevoked => ProblemKind::TokenInvalid,
                Refused::AdministratorUnknown => ProblemKind::AdministratorUnknown,
                Refused::AdministratorLast => ProblemKind::AdministratorLast,
                Refused::EntryUnknown => ProblemKind::EntryUnknown,
                Refused::SubjectUnknown => ProblemKind::SubjectUnknown,
                Refused::RevocationExists => ProblemKind::RevocationExists,
                Refused::RevocationUnknown => ProblemKind::RevocationUnknown,
                Refused::OutOfReach | Refused::HumanKey => ProblemKind::PermissionDenied,
                Refused::HeldAbove => ProblemKind::HeldAbove,
                Refused::HeldBelow => ProblemKind::HeldBelow,
                Refused::LimitReached { .. } => ProblemKind::LimitReached,
            },
            // The log has it once, from where it was noticed.
            StoreError::Behind(_) => ProblemKind::ReplicaBehind,
            // Since when revocations are missing is not for whoever asks: it may be one of those who are revoked.
            StoreError::Recovering(_) => {
                let detail = "an operator has to open the service: its log, /readyz of the operations listener and \
                    `portcullis backup status` say how";
                return Self::new(ProblemKind::StoreRecovering, detail);
            }
            // It does not pass by itself, and where the file lies is not the caller's to know.
            StoreError::Seal(_) => {
                tracing::error!(%error, "the sealing key cannot be used");
                let detail = "the service's sealing key cannot be used, and no secret is sealed or opened without it; \
                    an operator has to put it right, the service's log says how";
                return Self::new(ProblemKind::StoreUnavailable, detail);
            }
            _ => {
                // What every call would fail by the log has once, from who writes.
                if error.is_outage() {
                    tracing::debug!(%error, "the store failed");
                } else {
                    tracing::error!(%error, "the store failed");
                }
                return Self::new(ProblemKind::StoreUnavailable, "try again; the service's log says more");
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let document = ProblemDocument {
            r#type: "about:blank".to_owned(),
            title: self.kind.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            reason: self.kind.code().to_owned(),
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let retry_after_s =
            self.retry_after_s.or_else(|| (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(ReasonOf(self.kind.code()));
        response
    }
}
