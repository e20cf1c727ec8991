//! Who the service's own records are about.

use portcullis_protocol::wire::AuditRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sender::CONTROL_HOP;
use crate::caller::{Caller, CallerCredential};

/// Who does what is done on the service's machine.
const LOCAL_OPERATOR: &str = "local-operator";
/// Who does what happens by itself.
const SERVICE: &str = "control-service";
/// What stands before the id of a token, and of a client, where a record has a text for its subject.
const TOKEN: &str = "admin:";
const CLIENT: &str = "client:";
/// What stands before the name of a person who would pass for something else by it.
const PERSON: &str = "person:";

/// Who did something by the platform API, the token endpoint or on the service's machine. Each kind has names of its own:
/// an identity provider may call somebody `admin:1`, and that one is no token of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecordedCaller {
    /// Nobody who could be told.
    #[default]
    Nobody,
    /// Whoever has a token of the platform API; of a refused call, who says so.
    Token {
        /// Its public part.
        id: String,
    },
    /// Somebody whom an identity provider names.
    Person {
        /// The identity provider.
        issuer: String,
        /// What it calls them.
        subject: String,
        /// The key that verified their token.
        key_id: String,
    },
    /// Whoever has the token of a cluster; of a refused call, who says so. Which cluster the record says.
    Cluster {
        /// The token's public part.
        key_id: String,
    },
    /// Whoever has a join token of a cluster; of a refused call, who says so. Which cluster the record says.
    JoinToken {
        /// The token's public part.
        key_id: String,
    },
    /// Whoever has the key of a cluster's certificate. Which cluster the record says.
    Agent {
        /// The certificate's serial number.
        key_id: String,
    },
    /// A client of the token endpoint; of a refused request, who says so.
    Client {
        /// Its id.
        id: String,
        /// The public part of its secret.
        key_id: String,
    },
    /// Whoever has the service's machine.
    LocalOperator {
        /// The token that they made, if it is about one.
        key_id: String,
    },
    /// The service itself.
    Service,
}

impl RecordedCaller {
    /// Whoever has the service's machine.
    #[must_use]
    pub fn local_operator() -> Self {
        Self::LocalOperator { key_id: String::new() }
    }

    /// What records have as their subject. No two kinds have one name, and no two of one kind and issuer.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Nobody | Self::Cluster { .. } | Self::JoinToken { .. } | Self::Agent { .. } => {
                String::new()
            }
            Self::Token { id } => [TOKEN, id].concat(),
            Self::Person { subject, .. } if is_taken(subject) => [PERSON, subject].concat(),
            Self::Person { subject, .. } => subject.clone(),
            Self::Client { id, .. } => [CLIENT, id].concat(),
            Self::LocalOperator { .. } => LOCAL_OPERATOR.to_owned(),
            Self::Service => SERVICE.to_owned(),
        }
    }

    /// By which kind of credential.
    fn credential(&self) -> &'static str {
        match self {
            Self::Nobody | Self::LocalOperator { .. } | Self::Service => "",
            Self::Token { .. } => "admin_token",
            Self::Person { .. } => "jwt",
            Self::Cluster { .. } => "cluster_token",
            Self::JoinToken { .. } => "join_token",
            Self::Agent { .. } => "cluster_certificate",
            Self::Client { .. } => "client_secret",
        }
    }

    fn key_id(&self) -> &str {
        match self {
            Self::Nobody | Self::Service => "",
            Self::Token { id } => id,
            Self::Person { key_id, .. }
            | Self::Cluster { key_id }
            | Self::JoinToken { key_id }
            | Self::Agent { key_id }
            | Self::Client { key_id, .. }
            | Self::LocalOperator { key_id } => key_id,
        }
    }

    /// A record about them.
    pub(super) fn record(&self) -> AuditRecord {
        let issuer = match self {
            Self::Person { issuer, .. } => issuer.clone(),
            _ => String::new(),
        };
        AuditRecord {
            subject: self.subject(),
            issuer,
            credential: self.credential().to_owned(),
            key_id: self.key_id().to_owned(),
            ..AuditRecord::default()
        }
    }

    /// Whom a record of the service's own is about; `None` of other records, and of one of which that is erased.
    #[must_use]
    pub fn of(record: &AuditRecord) -> Option<Self> {
        if record.hop != CONTROL_HOP {
            return None;
        }
        let (subject, key_id) = (record.subject.as_str(), record.key_id.clone());
        Some(match record.credential.as_str() {
            "admin_token" => Self::Token { id: subject.strip_prefix(TOKEN)?.to_owned() },
            "jwt" => {
                let subject = subject.strip_prefix(PERSON).filter(|name| is_taken(name)).unwrap_or(subject);
                Self::Person { issuer: record.issuer.clone(), subject: subject.to_owned(), key_id }
            }
            "cluster_token" => Self::Cluster { key_id },
            "join_token" => Self::JoinToken { key_id },
            "cluster_certificate" => Self::Agent { key_id },
            "client_secret" => {
                let id = subject.strip_prefix(CLIENT).unwrap_or_default().to_owned();
                Self::Client { id, key_id }
            }
            "" if subject == LOCAL_OPERATOR => Self::LocalOperator { key_id },
            "" if subject == SERVICE => Self::Service,
            "" if subject.is_empty() => Self::Nobody,
            _ => return None,
        })
    }
}

/// Whether a name is one of another kind, or looks like one that was changed because it is.
fn is_taken(name: &str) -> bool {
    [TOKEN, CLIENT, PERSON].iter().any(|kind| name.starts_with(kind))
        || [LOCAL_OPERATOR, SERVICE].contains(&name)
}

impl From<&Caller> for RecordedCaller {
    fn from(caller: &Caller) -> Self {
        match &caller.credential {
            CallerCredential::Token { id } => Self::Token { id: id.clone() },
            CallerCredential::Person { issuer, subject, key_id } => Self::Person {
                issuer: issuer.clone(),
                subject: subject.clone(),
                key_id: key_id.clone().unwrap_or_default(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_person_has_the_name_of_anything_else_and_each_is_read_as_who_it_is() {
        let person = |subject: &str| RecordedCaller::Person {
            issuer: "https://idp".to_owned(),
            subject: subject.to_owned(),
            key_id: "k".to_owned(),
        };
        let all = [
            RecordedCaller::Nobody,
            RecordedCaller::Token { id: "1".to_owned() },
            RecordedCaller::Client { id: "svc-a".to_owned(), key_id: "2".to_owned() },
            RecordedCaller::Cluster { key_id: "3".to_owned() },
            RecordedCaller::JoinToken { key_id: "5".to_owned() },
            RecordedCaller::Agent { key_id: "6".to_owned() },
            RecordedCaller::LocalOperator { key_id: "4".to_owned() },
            RecordedCaller::Service,
            person("ann"),
            person("admin:1"),
            person("person:admin:1"),
            person("person:person:admin:1"),
            person("client:svc-a"),
            person("local-operator"),
            person("control-service"),
            person("Admin:1"),
        ];
        for (at, principal) in all.iter().enumerate() {
            let record = AuditRecord { hop: "control".to_owned(), ..principal.record() };
            assert_eq!(RecordedCaller::of(&record).as_ref(), Some(principal), "{record:?}");
            assert_eq!(RecordedCaller::of(&AuditRecord { hop: "gateway".to_owned(), ..record }), None);
            let name = principal.subject();
            let same = all.iter().enumerate().find(|(other, p)| *other != at && p.subject() == name);
            assert!(same.is_none() || name.is_empty(), "{principal:?} and {same:?}");
        }
    }
}
