//! What audit records that were taken out of the service tell of changes.

use portcullis_identity::ids::ClusterId;
use portcullis_protocol::audit::unhex;

/// A change that closes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// A cluster was suspended.
    Suspended(ClusterId),
    /// A cluster was retired.
    Retired(ClusterId),
    /// An API key was revoked, or another one took its place.
    ApiKeyEnded(String),
    /// Something was revoked by its name.
    Revoked(String),
    /// A client of the token endpoint was revoked.
    ClientRevoked(String),
    /// A client of the token endpoint got another secret.
    ClientSecretReplaced(String),
    /// An administrator's token was revoked.
    AdministratorRevoked(String),
    /// A data subject was erased from the audit log; the name under which its key was kept.
    SubjectErased([u8; 32]),
}

/// A change, and where the audit log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    /// Index in the log of the life before.
    pub index: u64,
    /// When it was, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Method and path of the call that made it.
    pub call: String,
    /// What it did.
    pub what: T,
}

/// What of an exported record tells of changes.
#[derive(Debug, Clone, Copy)]
pub struct Exported<'a> {
    /// Index in the log.
    pub index: u64,
    /// When it was, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Who recorded it; only the service itself records changes.
    pub hop: &'a str,
    /// `allow` when it was done.
    pub decision: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// Path, with what was changed.
    pub path: &'a str,
    /// Whether it cannot be read any more.
    pub erased: bool,
}

/// Records are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {wanted} is missing, the next one is {found}: export all records, without a filter, from --after {after} on",
    after = wanted - 1
)]
pub struct ExportGap {
    /// The index that has to come.
    pub wanted: u64,
    /// What came.
    pub found: u64,
}

/// All records of an audit log from one index on, as far as they tell of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditExport {
    /// The last record; 0 while there is none.
    pub last_index: u64,
    /// What closed something.
    pub closings: Vec<Change<Closing>>,
    /// What opened something or made something new, by its method and path. It is not done again.
    pub others: Vec<Change<()>>,
    /// Records of changes that do not tell what was changed: the name was not recorded, or was erased. While there are
    /// any, something may be missing.
    pub unclear: Vec<u64>,
}

impl AuditExport {
    /// Takes the next record. `known`: the last one that the restored store has.
    ///
    /// # Errors
    /// [`ExportGap`] when one is missing before it.
    pub fn add(&mut self, record: &Exported<'_>, known: u64) -> Result<(), ExportGap> {
        let Exported { index, time_ms, .. } = *record;
        if index <= self.last_index.max(known) {
            return Ok(());
        }
        let wanted = self.last_index.max(known) + 1;
        if index != wanted {
            return Err(ExportGap { wanted, found: index });
        }
        self.last_index = index;
        if record.hop != "control" || record.decision != "allow" {
            return Ok(());
        }
        let call = [record.method, " ", record.path].concat();
        match told(record.method, record.path) {
            Told::Unclear => self.unclear.push(index),
            _ if record.erased && record.method != "GET" => self.unclear.push(index),
            Told::Nothing => {}
            Told::Closes(what) => self.closings.push(Change { index, time_ms, call, what }),
            Told::Other => self.others.push(Change { index, time_ms, call, what: () }),
        }
        Ok(())
    }
}

enum Told {
    Closes(Closing),
    Other,
    Unclear,
    Nothing,
}

/// What a call of the platform API changed.
fn told(method: &str, path: &str) -> Told {
    let Some(rest) = path.strip_prefix("/v1/") else { return Told::Nothing };
    let parts: Vec<_> = rest.split('/').collect();
    let cluster = |id: &str, what: fn(ClusterId) -> Closing| {
        ClusterId::new(id).map_or(Told::Unclear, |id| Told::Closes(what(id)))
    };
    match (method, parts.as_slice()) {
        ("GET" | "HEAD", _) => Told::Nothing,
        // Older versions recorded an id as it was sent. What is revoked by its name was never part of the path.
        (_, [first, ..]) if *first != "revocations" && rest.contains('%') => Told::Unclear,
        ("POST", ["clusters", id, "suspend"]) => cluster(id, Closing::Suspended),
        ("DELETE", ["clusters", id]) => cluster(id, Closing::Retired),
        ("DELETE", ["api-keys", id]) | ("POST", ["api-keys", id, "rotate", ..]) => {
            Told::Closes(Closing::ApiKeyEnded((*id).to_owned()))
        }
        ("DELETE", ["service-clients", id]) => Told::Closes(Closing::ClientRevoked((*id).to_owned())),
        ("POST", ["service-clients", id, "rotate"]) => {
            Told::Closes(Closing::ClientSecretReplaced((*id).to_owned()))
        }
        ("DELETE", ["administrators", id]) => Told::Closes(Closing::AdministratorRevoked((*id).to_owned())),
        ("POST", ["audit", "erasures", name]) => {
            let name = unhex(name).and_then(|bytes| bytes.try_into().ok());
            name.map_or(Told::Unclear, |name| Told::Closes(Closing::SubjectErased(name)))
        }
        // Older versions did not record what was revoked.
        ("POST", ["revocations"]) => Told::Unclear,
        // A name may have slashes.
        ("POST", ["revocations", ..]) => {
            let name = rest.strip_prefix("revocations/").unwrap_or_default();
            Told::Closes(Closing::Revoked(name.to_owned()))
        }
        _ => Told::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(index: u64, method: &'a str, path: &'a str) -> Exported<'a> {
        Exported { index, time_ms: 1, hop: "control", decision: "allow", method, path, erased: false }
    }

    fn all(records: &[Exported<'_>], known: u64) -> Result<AuditExport, ExportGap> {
        let mut export = AuditExport::default();
        records.iter().try_for_each(|record| export.add(record, known)).map(|()| export)
    }

    #[test]
    fn what_closes_is_told_and_what_opens_is_only_named() {
        let found = all(
            &[
                record(4, "POST", "/v1/clusters/old/suspend"),
                record(5, "POST", "/v1/clusters/a/suspend"),
                record(6, "POST", "/v1/clusters/a/resume"),
                record(7, "POST", "/v1/revocations/user:acme https://idp.example ann"),
                record(8, "DELETE", "/v1/revocations/sub:x"),
                record(9, "POST", "/v1/api-keys/k1/rotate/k2"),
                record(10, "GET", "/v1/audit/records"),
                Exported { decision: "refuse", ..record(11, "DELETE", "/v1/clusters/b") },
                Exported { hop: "gateway", ..record(12, "DELETE", "/v1/clusters/b") },
            ],
            4,
        )
        .unwrap();
        let closings: Vec<_> = found.closings.into_iter().map(|change| change.what).collect();
        let revoked = Closing::Revoked("user:acme https://idp.example ann".to_owned());
        let suspended = Closing::Suspended(ClusterId::new("a").unwrap());
        assert_eq!(closings, [suspended, revoked, Closing::ApiKeyEnded("k1".to_owned())]);
        let others: Vec<_> = found.others.into_iter().map(|change| change.call).collect();
        assert_eq!(others, ["POST /v1/clusters/a/resume", "DELETE /v1/revocations/sub:x"]);
        assert_eq!(found.last_index, 12);
    }

    #[test]
    fn a_record_that_is_left_out_is_noticed() {
        let gap = all(&[record(5, "GET", "/"), record(7, "GET", "/")], 4);
        assert_eq!(gap, Err(ExportGap { wanted: 6, found: 7 }));
        assert_eq!(all(&[record(6, "GET", "/")], 4), Err(ExportGap { wanted: 5, found: 6 }));
    }

    #[test]
    fn a_change_that_cannot_be_told_is_not_passed_over() {
        let erased = Exported { erased: true, ..record(2, "DELETE", "") };
        let read = Exported { erased: true, ..record(4, "GET", "") };
        let found =
            all(&[record(1, "POST", "/v1/revocations"), erased, record(3, "GET", "/"), read], 0).unwrap();
        assert_eq!(found.unclear, [1, 2]);
    }

    #[test]
    fn an_id_that_is_none_is_not_passed_over() {
        let records = [
            record(1, "POST", "/v1/clusters/%61cme/suspend"),
            record(2, "DELETE", "/v1/administrators/%32fd"),
            record(3, "DELETE", "/v1/clusters/No_Id"),
            record(4, "POST", "/v1/revocations/user:100%25"),
        ];
        let found = all(&records, 0).unwrap();
        assert_eq!(found.unclear, [1, 2, 3]);
        assert_eq!(found.closings[0].what, Closing::Revoked("user:100%25".to_owned()));
    }
}
