//! API keys. The key itself is nowhere but with its holder.

use portcullis_identity::SourceType;
use portcullis_identity::ids::{Role, Scope, Subject, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::schema;
use crate::tokens::Token;

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Whom it speaks for.
    pub subject: Subject,
    /// What kind of caller holds it.
    pub source_type: SourceType,
    /// Roles.
    pub roles: Vec<Role>,
    /// Scopes.
    pub scopes: Vec<Scope>,
    /// End, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
}

/// A key as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKey {
    /// Its public id.
    pub id: String,
    /// The tenant it belongs to.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Whom it speaks for.
    pub subject: String,
    /// What kind of caller holds it.
    #[schemars(with = "schema::SourceType")]
    pub source_type: SourceType,
    /// Roles.
    pub roles: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// End, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
    /// Its last good use as far as audit records tell, milliseconds since the Unix epoch.
    pub last_used_at_ms: Option<u64>,
    /// The key that takes its place.
    pub replaced_by: Option<String>,
}

/// A key that takes another's place.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The new key.
    pub new: ApiKey,
    /// The old key, with its end.
    pub old: ApiKey,
    /// The new key's token, to be shown once.
    pub token: Token,
    /// Revision of the change.
    pub revision: u64,
}

/// How a key is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRotation {
    /// Seconds for which the old key stays good.
    pub overlap_s: u64,
    /// End of the new key; without it, it lives as long as the old one was made to.
    pub expires_at_s: Option<u64>,
}

impl ApiKey {
    /// A new key of this id.
    #[must_use]
    pub fn made(new: NewApiKey, id: &str, now_ms: u64) -> Self {
        Self {
            id: id.to_owned(),
            tenant: new.tenant,
            subject: new.subject.into(),
            source_type: new.source_type,
            roles: new.roles.into_iter().map(Into::into).collect(),
            scopes: new.scopes.into_iter().map(Into::into).collect(),
            created_at_ms: now_ms,
            expires_at_s: new.expires_at_s,
            revoked_at_ms: None,
            last_used_at_ms: None,
            replaced_by: None,
        }
    }

    /// Makes the key that takes this one's place, and sets this one's end.
    ///
    /// # Errors
    /// [`Refused::ApiKeyEnded`] when there is nothing left to be replaced.
    pub fn rotate(&mut self, new_id: String, how: KeyRotation, now_ms: u64) -> Result<Self, Refused> {
        let now_s = now_ms / 1000;
        let ended = self.expires_at_s.is_some_and(|end| end <= now_s);
        if self.revoked_at_ms.is_some() || ended || self.replaced_by.is_some() {
            return Err(Refused::ApiKeyEnded);
        }
        let lifetime = self.expires_at_s.map(|end| end.saturating_sub(self.created_at_ms / 1000));
        let new = Self {
            id: new_id,
            created_at_ms: now_ms,
            expires_at_s: how.expires_at_s.or_else(|| lifetime.map(|s| now_s + s)),
            last_used_at_ms: None,
            ..self.clone()
        };
        let end = now_s.saturating_add(how.overlap_s);
        self.expires_at_s = Some(self.expires_at_s.map_or(end, |earlier| earlier.min(end)));
        self.replaced_by = Some(new.id.clone());
        Ok(new)
    }

    /// Revokes it; false when it was revoked before.
    pub fn revoke(&mut self, now_ms: u64) -> bool {
        let first = self.revoked_at_ms.is_none();
        self.revoked_at_ms.get_or_insert(now_ms);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(expires_at_s: Option<u64>) -> ApiKey {
        let new = NewApiKey {
            tenant: TenantId::new("acme").unwrap(),
            subject: Subject::new("ann").unwrap(),
            source_type: SourceType::Worker,
            roles: Vec::new(),
            scopes: Vec::new(),
            expires_at_s,
        };
        ApiKey::made(new, "old", 100_000)
    }

    fn rotate(
        key: &mut ApiKey,
        overlap_s: u64,
        expires_at_s: Option<u64>,
        now_s: u64,
    ) -> Result<ApiKey, Refused> {
        key.rotate("new".to_owned(), KeyRotation { overlap_s, expires_at_s }, now_s * 1000)
    }

    #[test]
    fn the_new_key_lives_as_long_as_the_old_one_was_made_to_unless_told() {
        assert_eq!(rotate(&mut key(Some(400)), 0, None, 200).unwrap().expires_at_s, Some(500));
        assert_eq!(rotate(&mut key(Some(400)), 0, Some(250), 200).unwrap().expires_at_s, Some(250));
        assert_eq!(rotate(&mut key(None), 0, None, 200).unwrap().expires_at_s, None);
    }

    #[test]
    fn the_overlap_never_makes_the_old_key_live_longer() {
        for (end, overlap, wanted) in [(None, 50, 250), (Some(400), 50, 250), (Some(220), 50, 220)] {
            let mut old = key(end);
            rotate(&mut old, overlap, None, 200).unwrap();
            assert_eq!((old.expires_at_s, old.replaced_by.as_deref()), (Some(wanted), Some("new")));
        }
    }

    #[test]
    fn what_has_ended_is_not_replaced() {
        let ended = key(Some(200));
        let mut revoked = key(None);
        assert!(revoked.revoke(1) && !revoked.revoke(2));
        assert_eq!(revoked.revoked_at_ms, Some(1));
        let mut replaced = key(None);
        rotate(&mut replaced, 50, None, 200).unwrap();
        for mut key in [ended, revoked, replaced] {
            assert_eq!(rotate(&mut key, 0, None, 200), Err(Refused::ApiKeyEnded), "{key:?}");
        }
    }
}
