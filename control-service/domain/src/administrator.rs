//! Who has a token of the platform API: administrators, and others of lesser roles. Only the digests of the tokens are
//! kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::audit::{AuditEvent, RecordedCaller};
use crate::caller::{Caller, Person, Role};
use crate::tokens::{Token, TokenKind};

/// An administrator as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Administrator {
    /// The public part of the token.
    pub id: String,
    /// What it may do.
    #[serde(flatten)]
    pub role: Role,
    /// Made although there was an administrator already, by whoever has the data folder.
    pub break_glass: bool,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When its token ends, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
    /// The token that made it, by its public part.
    pub made_by: Option<String>,
    /// The person who made it, or who made the token that did: it ends when they are revoked.
    pub person: Option<Person>,
}

impl Administrator {
    /// A new one with its token. `by`: who makes it, if that is not whoever has the service's machine.
    #[must_use]
    pub fn generate(
        role: Role,
        expires_at_s: Option<u64>,
        by: Option<&Caller>,
        now_ms: u64,
    ) -> (Self, Token) {
        let token = Token::generate(TokenKind::Administrator);
        let made = Self {
            id: token.id().to_owned(),
            role,
            break_glass: false,
            created_at_ms: now_ms,
            expires_at_s,
            revoked_at_ms: None,
            made_by: by.and_then(Caller::token_id).map(str::to_owned),
            person: by.and_then(|by| by.voucher.as_ref()).map(|voucher| voucher.person.clone()),
        };
        (made, token)
    }

    /// Revokes it; doing so again changes nothing. `others`: whether the token of another one with the role administrator
    /// is good, which is asked only where it counts. The last good one stays: nobody could do everything any more.
    ///
    /// # Errors
    /// [`Refused::AdministratorLast`], or what `others` fails by.
    pub fn revoke<E: From<Refused>>(
        &mut self,
        now_ms: u64,
        others: impl FnOnce() -> Result<bool, E>,
    ) -> Result<(), E> {
        if self.revoked_at_ms.is_none() {
            if self.role == Role::Administrator && !others()? {
                return Err(Refused::AdministratorLast.into());
            }
            self.revoked_at_ms = Some(now_ms);
        }
        Ok(())
    }
}

/// What is audited when somebody makes an administrator on the service's machine. `exists`: there was one already.
#[must_use]
pub fn bootstrap_event(id: &str, exists: bool) -> AuditEvent {
    let path = if exists { "/bootstrap-admin/break-glass" } else { "/bootstrap-admin" };
    AuditEvent::on_the_machine(RecordedCaller::LocalOperator { key_id: id.to_owned() }, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_one_stays_and_a_revoked_one_is_not_revoked_again() {
        let (mut administrator, _) = Administrator::generate(Role::Administrator, None, None, 1);
        let last = administrator.revoke(5, || Ok::<_, Refused>(false));
        assert_eq!((last, administrator.revoked_at_ms), (Err(Refused::AdministratorLast), None));
        administrator.revoke(5, || Ok::<_, Refused>(true)).unwrap();
        administrator.revoke(9, || Ok::<_, Refused>(false)).unwrap();
        assert_eq!(administrator.revoked_at_ms, Some(5));
        let (mut operator, _) = Administrator::generate(Role::Operator, None, None, 1);
        operator.revoke(5, || Ok::<_, Refused>(false)).unwrap();
    }
}
