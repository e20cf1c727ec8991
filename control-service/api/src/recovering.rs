//! What is answered while a restored store does not know yet what it lacks: nobody is let through, and nothing is opened.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use portcullis_control_contract::calls::{Access, Call, Effect};
use portcullis_control_store::Store;

use crate::Problem;

/// Whose call is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Anybody's who may make it: it opens nothing, or tells what is public. An administrator may be one whose revocation
    /// is among what is missing, and can do no more than close.
    Anybodys,
    /// Of those who got their token since the restore: what it tells is not for an administrator who was revoked.
    Newcomers,
    /// Nobody's.
    Nobodys,
}

/// Whose call is taken while a store recovers.
pub(crate) fn taken(call: Call) -> Taken {
    match (call.effect(), call.access()) {
        (Effect::Closes, _) | (Effect::Reads, Access::Anybody) => Taken::Anybodys,
        (Effect::Reads | Effect::ReadsAudit, Access::Needs(_)) => Taken::Newcomers,
        _ => Taken::Nobodys,
    }
}

/// Takes no call while a store recovers.
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
    fn what_closes_is_taken_and_what_opens_or_makes_is_not() {
        let of = |wanted: Taken| Call::ALL.iter().copied().filter(move |call| taken(*call) == wanted);
        let anybodys = [
            Call::SuspendCluster,
            Call::RetireCluster,
            Call::RevokeApiKey,
            Call::RevokeServiceClient,
            Call::AddRevocation,
            Call::RevokeAdministrator,
            Call::IdentityKeys,
            Call::ServiceKeys,
            Call::AuthorizationServerMetadata,
            Call::OpenApi,
        ];
        assert_eq!(of(Taken::Anybodys).collect::<Vec<_>>(), anybodys);
        let nobodys = [
            Call::RegisterCluster,
            Call::ResumeCluster,
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
        assert!(of(Taken::Newcomers).all(|call| call.method() == "GET"));
    }
}
