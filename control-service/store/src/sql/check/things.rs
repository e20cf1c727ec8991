//! Whether what the store keeps can be read, and is what filters are told.

use portcullis_control_snapshot::entries::{self, OfKind};
use portcullis_model::policy::Jwks;
use portcullis_protocol::wire::RecordKind;
use portcullis_sql::{Row, SqlError, params};

use super::super::failure::Failure;
use super::super::{admins, certificates, clients, clusters, join_tokens, keys, revocations};
use super::Check;

impl Check<'_> {
    /// All rows of a table that can be read; of the others it is told which they are.
    fn rows<T>(
        &mut self,
        part: &'static str,
        (table, columns): (&str, &str),
        read: impl Fn(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, Failure> {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1");
        let (mut all, mut unreadable) = (Vec::new(), Vec::new());
        self.connection.each(&sql, params![], |row| {
            match read(row) {
                Ok(thing) => all.push(thing),
                Err(error) => unreadable.push((row.get::<String>(0)?, error.to_string())),
            }
            Ok::<_, SqlError>(())
        })?;
        for (name, error) in unreadable {
            self.fault(part, &format!("{} cannot be read: {error}", name.escape_debug()));
        }
        Ok(all)
    }

    pub(super) fn clusters(&mut self) -> Result<(), Failure> {
        let all = self.rows("clusters", ("cluster", clusters::COLUMNS), clusters::read)?;
        let edits = all.iter().map(|known| entries::of_cluster(&known.cluster));
        let wanted: OfKind = edits.filter_map(|edit| Some((edit.key, edit.value?))).collect();
        self.compare("clusters", RecordKind::Cluster, &wanted)
    }

    pub(super) fn api_keys(&mut self) -> Result<(), Failure> {
        let columns = [keys::COLUMNS, ", digest"].concat();
        let read = |row: &Row<'_>| Ok((keys::read(row)?, row.get::<[u8; 32]>(keys::DIGEST)?));
        let all = self.rows("API keys", ("api_key", &columns), read)?;
        let edits = all.iter().map(|(key, digest)| entries::of_api_key(key, digest));
        let wanted: OfKind = edits.filter_map(|edit| Some((edit.key, edit.value?))).collect();
        self.compare("API keys", RecordKind::ApiKey, &wanted)
    }

    pub(super) fn revocations(&mut self) -> Result<(), Failure> {
        let all = self.rows("revocations", ("revocation", revocations::COLUMNS), revocations::read)?;
        let wanted: OfKind =
            all.into_iter().map(|revocation| (revocation.name.into_bytes(), Vec::new())).collect();
        self.compare("revocations", RecordKind::Revocation, &wanted)
    }

    pub(super) fn others(&mut self) -> Result<(), Failure> {
        const PART: &str = "what is kept besides";
        self.rows(PART, ("administrator", admins::COLUMNS), admins::read)?;
        self.rows(PART, ("service_client", clients::COLUMNS), clients::read)?;
        self.rows(PART, ("join_token", join_tokens::COLUMNS), join_tokens::read)?;
        self.rows(PART, ("certificate", certificates::COLUMNS), certificates::read)?;
        let kept = self.rows(PART, ("issuer_keys", "issuer, jwks"), |row| {
            Ok((row.get::<String>(0)?, row.get::<String>(1)?))
        })?;
        for (issuer, jwks) in kept {
            if let Err(error) = serde_json::from_str::<Jwks>(&jwks) {
                self.fault(PART, &format!("the keys of {} cannot be read: {error}", issuer.escape_debug()));
            }
        }
        Ok(())
    }
}
