//! What each call takes and gives. Where a call has no word here, the program does not compile.

use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevocation,
    AdministratorRevoked,
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
    ClusterChanged, ClusterList, ClusterListQuery, HeartbeatRequest, HeartbeatResponse, Registered,
    Registration,
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
use portcullis_control_domain::cluster::Cluster;
use portcullis_control_domain::schema;
use portcullis_control_domain::signing::Purpose;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::documents::{Document, ServerMetadata, TokenAnswer, TokenForm};
use crate::ProblemKind;
use crate::ProblemKind::{
    AdministratorLast, AdministratorUnknown, ApiKeyEnded, ApiKeyUnknown, ClusterExists, ClusterRetired,
    ClusterUnknown, EntryUnknown, HeldAbove, LimitReached, NotFound, PermissionDenied, RevocationExists,
    RevocationUnknown, RotationUnderWay, ServiceClientExists, ServiceClientRevoked, ServiceClientUnknown,
    SubjectUnknown,
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

/// What a call takes and gives.
pub(super) struct Operation {
    /// Its query.
    pub(super) query: Option<SchemaOf>,
    /// The parameter in its path.
    pub(super) path: SchemaOf,
    /// Its body.
    pub(super) body: BodyOf,
    /// The status of an answer that is good, and the answer.
    pub(super) answer: (u16, SchemaOf),
    /// What can be wrong with it beside what can be wrong with every call of its form.
    pub(super) problems: &'static [ProblemKind],
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn answers<T: JsonSchema>(status: u16) -> Operation {
    let answer: (u16, SchemaOf) = (status, of::<T>);
    Operation { query: None, path: of::<String>, body: BodyOf::Nothing, answer, problems: &[] }
}

impl Operation {
    fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(of::<T>), ..self }
    }

    fn path<T: JsonSchema>(self) -> Self {
        Self { path: of::<T>, ..self }
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
        Call::ListClusters
        | Call::RegisterCluster
        | Call::GetCluster
        | Call::SuspendCluster
        | Call::ResumeCluster
        | Call::RetireCluster
        | Call::Heartbeat => of_clusters(call),
        Call::ListApiKeys | Call::CreateApiKey | Call::RotateApiKey | Call::RevokeApiKey => of_keys(call),
        Call::ListServiceClients
        | Call::CreateServiceClient
        | Call::RotateServiceClient
        | Call::RevokeServiceClient => of_clients(call),
        Call::ListRevocations => answers::<RevocationList>(200).query::<ListQuery>(),
        Call::AddRevocation => answers::<RevocationChanged>(201)
            .query::<Wait>()
            .body::<NewRevocation>()
            .problems(&[RevocationExists, PermissionDenied, LimitReached]),
        Call::RemoveRevocation => answers::<RevocationChanged>(200)
            .query::<RemovalQuery>()
            .problems(&[RevocationUnknown, HeldAbove]),
        Call::ListAuditRecords => answers::<RecordList>(200).query::<RecordFilter>(),
        Call::GetAuditEntry => answers::<ProofReport>(200).problems(&[EntryUnknown]),
        Call::EraseDataSubject => {
            answers::<ErasureReport>(200).body::<ErasureRequest>().problems(&[SubjectUnknown])
        }
        Call::GetAuditStatus => answers::<AuditStatus>(200),
        Call::ListProxies => answers::<ProxyList>(200),
        Call::GetConfiguration => answers::<RunningConfiguration>(200),
        Call::ListIssuers => answers::<IssuerList>(200),
        Call::ListSigningKeys => answers::<SigningKeyList>(200),
        Call::RotateSigningKey => {
            answers::<RotationBegun>(202).path::<Purpose>().problems(&[RotationUnderWay])
        }
        Call::ListAdministrators => answers::<AdministratorList>(200).query::<ListQuery>(),
        Call::CreateAdministrator => answers::<AdministratorCreated>(201)
            .optional_body::<AdministratorCreation>()
            .problems(&[ClusterUnknown, LimitReached]),
        Call::RevokeAdministrator => answers::<AdministratorRevoked>(200)
            .query::<AdministratorRevocation>()
            .problems(&[AdministratorUnknown, AdministratorLast]),
        Call::IdentityKeys => answers::<schema::KeySet>(200),
        Call::IssueToken => Operation { body: BodyOf::Form(of::<TokenForm>), ..answers::<TokenAnswer>(200) }
            .problems(&[NotFound]),
        Call::ServiceKeys => answers::<schema::KeySet>(200).problems(&[NotFound]),
        Call::AuthorizationServerMetadata => answers::<ServerMetadata>(200).problems(&[NotFound]),
        Call::OpenApi => answers::<Document>(200),
    }
}

fn of_clusters(call: Call) -> Operation {
    let changed = || answers::<ClusterChanged>(200).query::<Wait>().path::<schema::ClusterId>();
    match call {
        Call::ListClusters => answers::<ClusterList>(200).query::<ClusterListQuery>(),
        Call::RegisterCluster => {
            answers::<Registered>(201).body::<Registration>().problems(&[ClusterExists, LimitReached])
        }
        Call::GetCluster => answers::<Cluster>(200).path::<schema::ClusterId>().problems(&[ClusterUnknown]),
        Call::Heartbeat => answers::<HeartbeatResponse>(200)
            .path::<schema::ClusterId>()
            .optional_body::<HeartbeatRequest>()
            .problems(&[ClusterRetired]),
        Call::ResumeCluster => changed().problems(&[ClusterUnknown, ClusterRetired, HeldAbove]),
        Call::SuspendCluster => changed().problems(&[ClusterUnknown, ClusterRetired]),
        // One that has ended already stays so.
        _ => changed().problems(&[ClusterUnknown]),
    }
}

fn of_keys(call: Call) -> Operation {
    match call {
        Call::ListApiKeys => answers::<KeyList>(200).query::<TenantListQuery>(),
        Call::CreateApiKey => answers::<KeyCreated>(201).body::<KeyCreation>().problems(&[LimitReached]),
        Call::RotateApiKey => answers::<KeyRotated>(201)
            .query::<Wait>()
            .optional_body::<KeyRotationRequest>()
            .problems(&[ApiKeyUnknown, ApiKeyEnded, LimitReached]),
        _ => answers::<KeyRevoked>(200).query::<Wait>().problems(&[ApiKeyUnknown]),
    }
}

fn of_clients(call: Call) -> Operation {
    match call {
        Call::ListServiceClients => answers::<ClientList>(200).query::<TenantListQuery>(),
        Call::CreateServiceClient => answers::<ClientWithSecret>(201).body::<ClientCreation>().problems(&[
            ServiceClientExists,
            NotFound,
            LimitReached,
        ]),
        Call::RotateServiceClient => answers::<ClientWithSecret>(200)
            .optional_body::<ClientRotation>()
            .problems(&[ServiceClientUnknown, ServiceClientRevoked]),
        _ => answers::<ClientRevoked>(200).query::<Wait>().problems(&[ServiceClientUnknown]),
    }
}
