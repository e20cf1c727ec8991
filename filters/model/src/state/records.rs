//! Taking over the entries of a page, kind by kind.

use std::sync::Arc;

use portcullis_identity::{ClusterId, KeyId, TenantId};
use portcullis_protocol::wire::{self, Record, RecordKind};
use prost::Message;

use super::entries::{ClusterEntry, Secret, SignerEntry, api_key_entry};
use super::{Applied, Ground, HeldApiKey, HeldIssuer, SnapshotState};
use crate::decision::ClusterState;
use crate::errors::FieldError;
use crate::issuer::IssuerNames;
use crate::policy::{IntrospectionDocument, IssuerDocument, WorkloadsDocument};
use crate::resources::{Resources, ResourcesDocument};
use crate::strict_json;

impl SnapshotState {
    fn tenant(&mut self, name: &str) -> Result<Arc<TenantId>, String> {
        if let Some(known) = self.tenants.get(name) {
            return Ok(Arc::clone(known));
        }
        let tenant = Arc::new(TenantId::new(name).map_err(|e| e.to_string())?);
        self.tenants.insert(name.into(), Arc::clone(&tenant));
        Ok(tenant)
    }

    /// An entry that cannot be read is removed, so that an older, wider one does not live on.
    pub(super) fn apply_record(&mut self, record: &Record, applied: &mut Applied) -> Result<(), String> {
        let kind = RecordKind::try_from(record.kind).unwrap_or(RecordKind::Unspecified);
        match kind {
            RecordKind::Cluster => return self.apply_cluster(record),
            RecordKind::ApiKey => {
                let before = self.api_keys.len();
                let result = self.apply_api_key(record);
                // A new key cannot change how a cached credential is judged; a changed one can, and so can one
                // that is gone because its update cannot be read.
                applied.authentication_changed |= record.removed || self.api_keys.len() <= before;
                return result;
            }
            RecordKind::Resources => return self.apply_resources(record),
            RecordKind::Unspecified => return Ok(()),
            _ => {}
        }
        applied.authentication_changed = true;
        match kind {
            RecordKind::Issuer => self.apply_issuer(record),
            RecordKind::SourceRules => self.apply_source_rules(record),
            RecordKind::Revocation => self.apply_revocation(record),
            RecordKind::RevocationDigest => self.apply_revocation_digest(record),
            RecordKind::IdentityKey => self.apply_identity_key(record),
            RecordKind::IdentitySigner => self.apply_signer(record),
            RecordKind::Introspection => self.apply_introspection(record),
            RecordKind::Workloads => self.apply_workloads(record),
            RecordKind::IssuerSecret => self.apply_issuer_secret(record),
            RecordKind::ApiKeyPepper => self.apply_pepper(record),
            RecordKind::Unspecified | RecordKind::Cluster | RecordKind::ApiKey | RecordKind::Resources => {
                Ok(())
            }
        }
    }

    /// What a record is about to change of that on which something may stand already.
    pub(super) fn changed_by(&self, record: &Record) -> Option<Ground> {
        let name = || text(&record.key).ok().map(Box::from);
        let digest = || <[u8; 32]>::try_from(record.key.as_slice()).ok();
        match RecordKind::try_from(record.kind).ok()? {
            RecordKind::Cluster => {
                let id = text(&record.key).ok().and_then(|id| ClusterId::new(id).ok())?;
                self.clusters.contains_key(&id).then_some(Ground::Cluster(id))
            }
            RecordKind::ApiKey => {
                digest().filter(|digest| self.api_keys.contains_key(digest)).map(Ground::ApiKey)
            }
            RecordKind::Issuer | RecordKind::IssuerSecret => name().map(Ground::Issuer),
            RecordKind::Introspection => name().map(Ground::Provider),
            RecordKind::Revocation => name().map(Ground::Revocation),
            RecordKind::RevocationDigest => digest().map(Ground::RevocationDigest),
            RecordKind::SourceRules => Some(Ground::SourceRules),
            RecordKind::Workloads => Some(Ground::Workloads),
            RecordKind::Resources => Some(Ground::Resources),
            // How identity tokens are signed is no reason to judge anybody again. With another pepper every API
            // key has another digest, so its entry changes, too.
            RecordKind::IdentityKey
            | RecordKind::IdentitySigner
            | RecordKind::ApiKeyPepper
            | RecordKind::Unspecified => None,
        }
    }

    fn apply_cluster(&mut self, record: &Record) -> Result<(), String> {
        let id = text(&record.key).and_then(|t| ClusterId::new(t).map_err(|e| e.to_string()))?;
        self.clusters.remove(&id);
        if record.removed {
            return Ok(());
        }
        let raw = wire::Cluster::decode(record.value.as_slice())
            .map_err(|_| format!("cluster {id}: not a cluster message"))?;
        let tenant = self.tenant(&raw.tenant).map_err(|e| format!("cluster {id}: {e}"))?;
        let entry = ClusterEntry { tenant, state: ClusterState::from_code(raw.state), epoch: self.epoch };
        self.clusters.insert(id, entry);
        Ok(())
    }

    fn apply_api_key(&mut self, record: &Record) -> Result<(), String> {
        let digest: [u8; 32] =
            record.key.as_slice().try_into().map_err(|_| "API key: digest is not 32 bytes".to_owned())?;
        if record.removed {
            self.api_keys.remove(&digest);
            return Ok(());
        }
        let entry = wire::ApiKey::decode(record.value.as_slice())
            .map_err(|_| "not an API key message".to_owned())
            .and_then(|raw| api_key_entry(&raw));
        match entry {
            Ok(_) => {
                let held = HeldApiKey { encoded: record.value.as_slice().into(), epoch: self.epoch };
                self.api_keys.insert(digest, held);
                Ok(())
            }
            Err(error) => {
                self.api_keys.remove(&digest);
                Err(format!("API key: {error}"))
            }
        }
    }

    fn apply_issuer(&mut self, record: &Record) -> Result<(), String> {
        let name: Box<str> = text(&record.key)?.into();
        self.issuers.remove(&name);
        if record.removed {
            return Ok(());
        }
        let document: IssuerDocument =
            strict_json::document(&record.value).map_err(|e| format!("issuer {name}: {e}"))?;
        if document.issuer.as_str() != &*name {
            return Err(format!("issuer {name}: its document names {}", document.issuer));
        }
        let names = IssuerNames::of(&document.issuer, &document.aliases, &document.issuer_values)
            .map_err(|e| format!("issuer {name}: {e}"))?;
        sound(document.check()).map_err(|e| format!("issuer {name}: {e}"))?;
        self.issuers.insert(name, HeldIssuer { document: Arc::new(document), names, epoch: self.epoch });
        Ok(())
    }

    fn apply_source_rules(&mut self, record: &Record) -> Result<(), String> {
        self.source_rules = Arc::default();
        if !record.removed {
            let rules = strict_json::document(&record.value).map_err(|e| format!("source rules: {e}"))?;
            self.source_rules = Arc::new(rules);
        }
        Ok(())
    }

    fn apply_revocation(&mut self, record: &Record) -> Result<(), String> {
        let name = text(&record.key)?;
        if record.removed {
            self.revocations.remove(name);
        } else {
            self.revocations.insert(name.into(), self.epoch);
        }
        Ok(())
    }

    fn apply_revocation_digest(&mut self, record: &Record) -> Result<(), String> {
        let digest: [u8; 32] =
            record.key.as_slice().try_into().map_err(|_| "revocation: digest is not 32 bytes".to_owned())?;
        if record.removed {
            self.revocation_digests.remove(&digest);
        } else {
            self.revocation_digests.insert(digest, self.epoch);
        }
        Ok(())
    }

    fn apply_identity_key(&mut self, record: &Record) -> Result<(), String> {
        let kid: Box<str> = text(&record.key)?.into();
        self.identity_keys.remove(&kid);
        if record.removed {
            return Ok(());
        }
        let key =
            record.value.as_slice().try_into().map_err(|_| format!("identity key {kid}: not 32 bytes"))?;
        self.identity_keys.insert(kid, (key, self.epoch));
        Ok(())
    }

    fn apply_signer(&mut self, record: &Record) -> Result<(), String> {
        self.signer = None;
        if record.removed {
            return Ok(());
        }
        let raw = wire::IdentitySigner::decode(record.value.as_slice())
            .map_err(|_| "identity signer: not a signer message".to_owned())?;
        let seed = raw.seed.as_slice().try_into().map_err(|_| "identity signer: seed is not 32 bytes")?;
        if !(1..=60).contains(&raw.lifetime_s) {
            return Err(format!("identity signer: lifetime {} s is not within 1–60 s", raw.lifetime_s));
        }
        let key_id = KeyId::new(&raw.key_id).map_err(|e| format!("identity signer: {e}"))?;
        self.signer =
            Some(Arc::new(SignerEntry { key_id, seed, issuer: raw.issuer, lifetime_s: raw.lifetime_s }));
        Ok(())
    }

    fn apply_introspection(&mut self, record: &Record) -> Result<(), String> {
        let name: Box<str> = text(&record.key)?.into();
        self.introspections.remove(&name);
        if record.removed {
            return Ok(());
        }
        let document: IntrospectionDocument =
            strict_json::document(&record.value).map_err(|e| format!("introspection {name}: {e}"))?;
        if document.name != *name {
            return Err(format!("introspection {name}: its document names {}", document.name));
        }
        let errors = document.claims.check([&document.issuer], &document.tenants);
        sound(errors).map_err(|e| format!("introspection {name}: {e}"))?;
        self.introspections.insert(name, (Arc::new(document), self.epoch));
        Ok(())
    }

    fn apply_resources(&mut self, record: &Record) -> Result<(), String> {
        self.resources = (Arc::new(Resources::unreadable()), self.epoch);
        let resources = match record.removed {
            true => Resources::default(),
            false => strict_json::document::<ResourcesDocument>(&record.value)
                .map_err(|e| format!("resources: {e}"))?
                .into(),
        };
        self.resources = (Arc::new(resources), self.epoch);
        Ok(())
    }

    fn apply_workloads(&mut self, record: &Record) -> Result<(), String> {
        self.workloads.clear();
        if record.removed {
            return Ok(());
        }
        let document: WorkloadsDocument =
            strict_json::document(&record.value).map_err(|e| format!("workloads: {e}"))?;
        for entry in document.workloads {
            self.workloads.insert(entry.spiffe_id.clone(), (Arc::new(entry), self.epoch));
        }
        Ok(())
    }

    fn apply_issuer_secret(&mut self, record: &Record) -> Result<(), String> {
        let name: Box<str> = text(&record.key)?.into();
        if record.removed {
            self.issuer_secrets.remove(&name);
        } else {
            let secret = Arc::new(Secret(record.value.as_slice().into()));
            self.issuer_secrets.insert(name, (secret, self.epoch));
        }
        Ok(())
    }

    fn apply_pepper(&mut self, record: &Record) -> Result<(), String> {
        self.pepper = None;
        if !record.removed {
            let key = record.value.as_slice().try_into().map_err(|_| "API-key pepper: not 32 bytes")?;
            self.pepper = Some(key);
        }
        Ok(())
    }
}

/// Nothing is wrong; else the first thing that is.
fn sound(errors: Vec<FieldError>) -> Result<(), FieldError> {
    errors.into_iter().next().map_or(Ok(()), Err)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "an entry's key is not UTF-8".to_owned())
}
