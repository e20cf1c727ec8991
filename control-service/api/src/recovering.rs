//! What is answered while a restored store does not know yet what it lacks: nobody is let through, and nothing is opened.
//! What it lacks, and since when, is told to those alone who are certain to be known.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use portcullis_control_contract::calls::{Access, Call, Effect};
use portcullis_control_domain::caller::Caller;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_store::Store;

use crate::{Problem, ProblemKind};

/// What whoever may be revoked by what is missing is told.
const NEW_TOKEN: &str = "a token of before the restore can close what can be opened again, and nothing else: make a new one by \
                         `portcullis bootstrap-admin --break-glass` on the service's machine";

/// Whose call is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Anybody's who may make it: what it does is taken back later, or it tells what is public. An administrator may be one
    /// whose revocation is among what is missing, and can do no more than close.
    Anybodys,
    /// Of those who got their token since the restore: what it tells is not for an administrator who was revoked, and what
    /// it ends is ended for good.
    Newcomers,
    /// Nobody's.
    Nobodys,
}

/// Whose call is taken while a store recovers.
pub(crate) fn taken(call: Call) -> Taken {
    match (call.effect(), call.access()) {
        (Effect::Closes, _) | (Effect::Reads, Access::Anybody) => Taken::Anybodys,
        (Effect::Reads | Effect::ReadsAudit | Effect::Ends, Access::Needs(_)) => Taken::Newcomers,
        _ => Taken::Nobodys,
    }
}

/// Why a call is not taken from a caller while a store recovers.
pub(crate) fn refused(store: &Store, call: Call, caller: &Caller) -> Option<Problem> {
    let recovery = store.recovery()?;
    let detail = match (taken(call), recovery.knows(caller)) {
        (Taken::Anybodys, _) | (Taken::Newcomers, true) => return None,
        (Taken::Nobodys, true) => recovery.reason(now_ms()),
        (Taken::Newcomers | Taken::Nobodys, false) => NEW_TOKEN.to_owned(),
    };
    Some(Problem::new(ProblemKind::StoreRecovering, detail))
}

/// Takes no call while a store recovers, whoever makes it.
pub(crate) async fn nobodys(
    State(store): State<Store>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if store.recovery().is_some() {
        store.check_fresh()?;
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_taken_back_is_anybodys_and_what_opens_or_makes_is_nobodys() {
        let of = |wanted: Taken| Call::ALL.iter().copied().filter(move |call| taken(*call) == wanted);
        let anybodys = [
            Call::SuspendCluster,
            Call::AddRevocation,
            Call::IdentityKeys,
            Call::ServiceKeys,
            Call::AuthorizationServerMetadata,
            Call::OpenApi,
        ];
        assert_eq!(of(Taken::Anybodys).collect::<Vec<_>>(), anybodys);
        let nobodys = [
            Call::RegisterCluster,
            Call::ResumeCluster,
            Call::CreateJoinToken,
            Call::Heartbeat,
            Call::CreateApiKey,
            Call::RotateApiKey,
            Call::CreateServiceClient,
            Call::RotateServiceClient,
            Call::RemoveRevocation,
            Call::EraseDataSubject,
            Call::RotateSigningKey,
            Call::CreateAdministrator,
            Call::IssueToken,
        ];
        assert_eq!(of(Taken::Nobodys).collect::<Vec<_>>(), nobodys);
        let ends = of(Taken::Newcomers).filter(|call| call.method() != "GET");
        let for_good = [
            Call::RetireCluster,
            Call::RevokeJoinToken,
            Call::RevokeCertificates,
            Call::RevokeApiKey,
            Call::RevokeServiceClient,
            Call::RevokeAdministrator,
        ];
        assert_eq!(ends.collect::<Vec<_>>(), for_good);
    }
}
