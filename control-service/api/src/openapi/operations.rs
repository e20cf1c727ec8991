//! What each call takes and gives. Where a call has no word here, the program does not compile.

use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevocation,
    AdministratorRevoked,
};
use portcullis_control_contract::agents::{
    CertificateList, CertificateRevocation, CertificatesRevoked, JoinToken, JoinTokenCreated,
    JoinTokenCreation, JoinTokenList,
};
use portcullis_control_contract::audit::{
    AuditStatus, ErasureReport, ErasureRequest, ProofReport, ProxyList, RecordFilter, RecordList,
};
use portcullis_control_contract::callers::WhoAmI;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::clients::{
    ClientCreation, ClientList, ClientRevoked, ClientRotation, ClientWithSecret,
};
use portcullis_control_contract::clusters::{
    ClusterChanged, ClusterList, ClusterListQuery, ClusterShown, HeartbeatRequest, HeartbeatResponse,
    Registered, Registration, Suspension,
};
use portcullis_control_contract::configuration::RunningConfiguration;
use portcullis_control_contract::issuers::{IssuerList, RotationBegun, SigningKeyList};
use portcullis_control_contract::keys::{
    KeyCreated, KeyCreation, KeyList, KeyRevoked, KeyRotated, KeyRotationRequest,
};
use portcullis_control_contract::revocations::{
    NewRevocation, RemovalQuery, RevocationChanged, RevocationList,
};
use portcullis_control_contract::{ListQuery, TenantListQuery, Wait};
use portcullis_control_domain::schema;
use portcullis_control_domain::signing::Purpose;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::documents::{Document, ServerMetadata, TokenAnswer, TokenForm};
use crate::ProblemKind;
use crate::ProblemKind::{
    AdministratorLast, AdministratorUnknown, ApiKeyEnded, ApiKeyUnknown, CertificateUnknown, ClusterExists,
    ClusterRetired, ClusterUnknown, EntryUnknown, HeldAbove, HeldBelow, JoinTokenUnknown, JoinTokensMany,
    LimitReached, NotFound, PermissionDenied, RevocationExists, RevocationUnknown, RotationUnderWay,
    ServiceClientExists, ServiceClientRevoked, ServiceClientUnknown, ShareTaken, SubjectUnknown,
};

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a call's body is.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyOf {
    /// There is none.
    Nothing,
    /// JSON.
    Json(SchemaOf),
    /// JSON, or nothing where all is as usual.
    Optional(SchemaOf),
    /// A form of the token endpoint.
    Form(SchemaOf),
}

/// What a call answers when nothing is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// Its media type: JSON, or `text/event-stream` where events follow each other.
    pub(super) media_type: &'static str,
    /// What it is.
    pub(super) schema: SchemaOf,
}

/// What a call takes and gives.
pub(super) struct Operation {
    /// Its query.
    pub(super) query: Option<SchemaOf>,
    /// The parameters of its path, in their order.
    pub(super) path: Vec<SchemaOf>,
    /// Its body.
    pub(super) body: BodyOf,
    /// Its answer.
    pub(super) answer: Answer,
    /// What can be wrong with it beside what can be wrong with every call of its form.
    pub(super) problems: &'static [ProblemKind],
}

pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub(super) fn answers<T: JsonSchema>(status: u16) -> Operation {
    let answer = Answer { status, media_type: "application/json", schema: of::<T> };
    Operation { query: None, path: Vec::new(), body: BodyOf::Nothing, answer, problems: &[] }
}

impl Operation {
    fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(of::<T>), ..self }
    }

    /// One more parameter of the path.
    pub(super) fn path<T: JsonSchema>(mut self) -> Self {
        self.path.push(of::<T>);
        self
    }

    fn body<T: JsonSchema>(self) -> Self {
        Self { body: BodyOf::Json(of::<T>), ..self }
    }

    fn optional_body<T: JsonSchema>(self) -> Self {
        Self { body: BodyOf::Optional(of::<T>), ..self }
    }

    fn problems(self, problems: &'static [ProblemKind]) -> Self {
        Self { problems, ..self }
    }
}

/// What a call takes and gives.
pub(super) fn operation(call: Call) -> Operation {
    match call {
        Call::WhoAmI => answers::<WhoAmI>(200),
        Call::ListClusters => answers::<ClusterList>(200).query::<ClusterListQuery>(),
        Call::WatchClusters => watched_clusters(),
        Call::RegisterCluster => registered(),
        Call::GetCluster => {
            answers::<ClusterShown>(200).path::<schema::ClusterId>().problems(&[ClusterUnknown])
        }
        Call::SuspendCluster => suspended_cluster(),
        Call::ResumeCluster => resumed_cluster(),
        // One that has ended already stays so.
        Call::RetireCluster => changed_cluster().problems(&[ClusterUnknown]),
        Call::Heartbeat => heartbeat(),
        Call::ListJoinTokens => {
            of_cluster::<JoinTokenList>(200).query::<ListQuery>().problems(&[ClusterUnknown])
        }
        Call::CreateJoinToken => created_join_token(),
        Call::RevokeJoinToken => of_id::<JoinToken>(200).problems(&[JoinTokenUnknown]),
        Call::ListCertificates => {
            of_cluster::<CertificateList>(200).query::<ListQuery>().problems(&[ClusterUnknown])
        }
        Call::RevokeCertificates => revoked_certificates(),
        Call::ListApiKeys => answers::<KeyList>(200).query::<TenantListQuery>(),
        Call::CreateApiKey => answers::<KeyCreated>(201).body::<KeyCreation>().problems(&[LimitReached]),
        Call::RotateApiKey => rotated_key(),
        Call::RevokeApiKey => of_id::<KeyRevoked>(200).query::<Wait>().problems(&[ApiKeyUnknown]),
        Call::ListServiceClients => answers::<ClientList>(200).query::<TenantListQuery>(),
        Call::CreateServiceClient => created_client(),
        Call::RotateServiceClient => rotated_client(),
        Call::RevokeServiceClient => revoked_client(),
        Call::ListRevocations => answers::<RevocationList>(200).query::<ListQuery>(),
        Call::AddRevocation => added_revocation(),
        Call::RemoveRevocation => removed_revocation(),
        Call::ListAuditRecords => answers::<RecordList>(200).query::<RecordFilter>(),
        Call::GetAuditEntry => of_id::<ProofReport>(200).problems(&[EntryUnknown]),
        Call::EraseDataSubject => erased(),
        Call::GetAuditStatus => answers::<AuditStatus>(200),
        Call::ListProxies => answers::<ProxyList>(200),
        Call::GetConfiguration => answers::<RunningConfiguration>(200),
        Call::ListIssuers => answers::<IssuerList>(200),
        Call::ListSigningKeys => answers::<SigningKeyList>(200),
        Call::RotateSigningKey => rotated_signing_key(),
        Call::ListAdministrators => answers::<AdministratorList>(200).query::<ListQuery>(),
        Call::CreateAdministrator => created_administrator(),
        Call::RevokeAdministrator => revoked_administrator(),
        Call::IdentityKeys => answers::<schema::KeySet>(200),
        Call::IssueToken => issued_token(),
        Call::ServiceKeys => answers::<schema::KeySet>(200).problems(&[NotFound]),
        Call::AuthorizationServerMetadata => answers::<ServerMetadata>(200).problems(&[NotFound]),
        Call::OpenApi => answers::<Document>(200),
    }
}

/// The answer of a call whose path ends with an id.
fn of_id<T: JsonSchema>(status: u16) -> Operation {
    answers::<T>(status).path::<String>()
}

fn watched_clusters() -> Operation {
    let watched = answers::<schema::EventStream>(200).problems(&[ShareTaken]);
    Operation { answer: Answer { media_type: "text/event-stream", ..watched.answer }, ..watched }
}

/// The answer of a call about a cluster.
fn of_cluster<T: JsonSchema>(status: u16) -> Operation {
    answers::<T>(status).path::<schema::ClusterId>()
}

fn created_join_token() -> Operation {
    let created = of_cluster::<JoinTokenCreated>(201).optional_body::<JoinTokenCreation>();
    created.problems(&[ClusterUnknown, ClusterRetired, JoinTokensMany, NotFound])
}

fn revoked_certificates() -> Operation {
    let revoked = of_cluster::<CertificatesRevoked>(200).optional_body::<CertificateRevocation>();
    revoked.problems(&[ClusterUnknown, CertificateUnknown])
}

fn registered() -> Operation {
    answers::<Registered>(201).body::<Registration>().problems(&[ClusterExists, LimitReached])
}

fn changed_cluster() -> Operation {
    answers::<ClusterChanged>(200).query::<Wait>().path::<schema::ClusterId>()
}

fn suspended_cluster() -> Operation {
    changed_cluster().optional_body::<Suspension>().problems(&[ClusterUnknown, ClusterRetired])
}

fn resumed_cluster() -> Operation {
    changed_cluster().problems(&[ClusterUnknown, ClusterRetired, HeldAbove, HeldBelow])
}

fn heartbeat() -> Operation {
    let taken = answers::<HeartbeatResponse>(200).path::<schema::ClusterId>();
    taken.optional_body::<HeartbeatRequest>().problems(&[ClusterRetired])
}

fn rotated_key() -> Operation {
    let rotated = of_id::<KeyRotated>(201).query::<Wait>().optional_body::<KeyRotationRequest>();
    rotated.problems(&[ApiKeyUnknown, ApiKeyEnded, LimitReached])
}

fn created_client() -> Operation {
    let created = answers::<ClientWithSecret>(201).body::<ClientCreation>();
    created.problems(&[ServiceClientExists, NotFound, LimitReached])
}

fn rotated_client() -> Operation {
    let rotated = of_id::<ClientWithSecret>(200).optional_body::<ClientRotation>();
    rotated.problems(&[ServiceClientUnknown, ServiceClientRevoked])
}

fn revoked_client() -> Operation {
    of_id::<ClientRevoked>(200).query::<Wait>().problems(&[ServiceClientUnknown])
}

fn added_revocation() -> Operation {
    let added = answers::<RevocationChanged>(201).query::<Wait>().body::<NewRevocation>();
    added.problems(&[RevocationExists, PermissionDenied, LimitReached])
}

fn removed_revocation() -> Operation {
    answers::<RevocationChanged>(200).query::<RemovalQuery>().problems(&[RevocationUnknown, HeldAbove])
}

fn erased() -> Operation {
    answers::<ErasureReport>(200).body::<ErasureRequest>().problems(&[SubjectUnknown])
}

fn rotated_signing_key() -> Operation {
    answers::<RotationBegun>(202).path::<Purpose>().problems(&[RotationUnderWay])
}

fn created_administrator() -> Operation {
    let created = answers::<AdministratorCreated>(201).optional_body::<AdministratorCreation>();
    created.problems(&[ClusterUnknown, LimitReached])
}

fn revoked_administrator() -> Operation {
    let revoked = of_id::<AdministratorRevoked>(200).query::<AdministratorRevocation>();
    revoked.problems(&[AdministratorUnknown, AdministratorLast])
}

fn issued_token() -> Operation {
    Operation { body: BodyOf::Form(of::<TokenForm>), ..answers::<TokenAnswer>(200) }.problems(&[NotFound])
}
