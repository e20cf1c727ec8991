//! Whether everything that is sealed opens.

use std::collections::BTreeSet;

use portcullis_sql::params;

use super::super::audit::AUDIT_KEYS;
use super::super::failure::Failure;
use super::super::secrets::{API_KEY_PEPPER, SNAPSHOT_SEED};
use super::super::{authority, sealed, signing_keys, snapshot};
use super::Check;
use crate::seal::SealingKey;

const PART: &str = "sealed secrets";

impl Check<'_> {
    pub(super) fn sealed(&mut self, key: &SealingKey) -> Result<(), Failure> {
        let connection = self.connection;
        let names: Vec<String> =
            connection.query("SELECT name FROM secret ORDER BY name", params![], |row| row.get(0))?;
        for name in &names {
            if let Err(error) = sealed::open(connection, key, name) {
                self.fault(PART, &error.to_string());
            }
        }
        self.entries(key)?;
        for name in [SNAPSHOT_SEED, API_KEY_PEPPER, AUDIT_KEYS] {
            if !names.iter().any(|there| there == name) {
                self.fault(PART, &format!("the secret {name} is missing"));
            }
        }
        let kids: BTreeSet<String> = connection
            .query("SELECT kid FROM signing_key", params![], |row| row.get(0))?
            .into_iter()
            .collect();
        for name in &names {
            if name.strip_prefix(signing_keys::SECRET).is_some_and(|kid| !kids.contains(kid)) {
                self.fault(PART, &format!("the secret {name} belongs to no signing key"));
            }
        }
        let authorities: BTreeSet<String> =
            connection.query("SELECT id FROM authority", params![], |row| row.get(0))?.into_iter().collect();
        for name in &names {
            if name.strip_prefix(authority::SECRET).is_some_and(|id| !authorities.contains(id)) {
                self.fault(PART, &format!("the secret {name} belongs to no authority"));
            }
        }
        for id in &authorities {
            if !names.iter().any(|name| name.strip_prefix(authority::SECRET) == Some(id.as_str())) {
                self.fault(PART, &format!("the private key of the authority {id} is missing"));
            }
        }
        signing_keys::load(connection, key).map(drop)
    }

    /// Whether the secrets of the snapshot are those that were published.
    fn entries(&mut self, key: &SealingKey) -> Result<(), Failure> {
        for mut change in snapshot::stored_secrets(self.connection)? {
            if let Err(error) = snapshot::open(self.connection, key, &mut change) {
                self.fault(PART, &error.to_string());
            }
        }
        Ok(())
    }
}
