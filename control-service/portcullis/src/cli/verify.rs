//! Whether a record of the audit log is the one that its entry was made for. Nothing is taken on the service's word but
//! which entry the log has.

use portcullis_control_contract::audit::ProofReport;
use portcullis_control_domain::audit::{Erased, LogBody, LogEntry, leaf_hash};
use portcullis_control_store::open_personal;
use portcullis_protocol::audit::{hex, unhex};
use portcullis_protocol::wire::AuditRecord;
use prost::Message;
use serde::Serialize;

/// What does not agree.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    /// Not hexadecimal, or not so many bytes.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// An answer to another question.
    #[error("it is entry {0}")]
    Index(u64),
    /// The leaf hash is that of something else.
    #[error("its leaf hash is not that of the entry")]
    Leaf,
    /// Another record, or another salt.
    #[error("the entry commits to another record")]
    Commitment,
    /// The key is that of another record.
    #[error("the record's key does not open it")]
    Key,
}

/// What is certain of a record.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Verified {
    index: u64,
    /// `commitment`, or `record` where an older version hashed the record itself.
    entry: &'static str,
    leaf_hash: String,
    received_ms: Option<u64>,
    /// What cannot be verified any more.
    erased: Option<Erased>,
    principal: String,
    subject: String,
    decision: String,
    reason: String,
    cluster: String,
}

/// Verifies what the service gave of an entry.
///
/// # Errors
/// [`ProofError`]: the first thing that does not agree.
pub(super) fn verify(index: u64, proof: &ProofReport) -> Result<Verified, ProofError> {
    if proof.index != index {
        return Err(ProofError::Index(proof.index));
    }
    let bytes = |what, text: &Option<String>| {
        let read = |text: &String| unhex(text).ok_or(ProofError::Unreadable(what));
        text.as_ref().map(read).transpose()
    };
    let (salt, body) = (bytes("salt", &proof.salt)?, bytes("body", &proof.body)?);
    let parts = body.as_deref().map(|body| LogBody::decode(body).ok_or(ProofError::Unreadable("body")));
    let parts = parts.transpose()?;
    let personal = match (&parts, key(proof)?) {
        (Some(parts), Some(key)) => Some(open_personal(&key, parts.sealed).ok_or(ProofError::Key)?),
        _ => None,
    };
    let entry = bytes("entry", &proof.entry)?;
    let received_ms = match &entry {
        Some(entry) => Some(commitment(index, entry, proof, salt.as_deref().zip(body.as_deref()))?),
        None => {
            record(proof, parts.as_ref(), personal.as_deref())?;
            None
        }
    };
    let open = parts.map(|parts| parts.open).unwrap_or_default();
    let whole = [open, personal.as_deref().unwrap_or_default()].concat();
    let record = AuditRecord::decode(whole.as_slice()).map_err(|_| ProofError::Unreadable("body"))?;
    let erased = match parts {
        None => Some(Erased::Record),
        Some(parts) => (!parts.sealed.is_empty() && personal.is_none()).then_some(Erased::Subject),
    };
    Ok(Verified {
        index,
        entry: if entry.is_some() { "commitment" } else { "record" },
        leaf_hash: proof.leaf_hash.clone(),
        received_ms,
        erased,
        principal: parts.map(|parts| parts.principal.to_owned()).unwrap_or_default(),
        subject: record.subject,
        decision: record.decision,
        reason: record.reason,
        cluster: record.cluster,
    })
}

fn key(proof: &ProofReport) -> Result<Option<[u8; 32]>, ProofError> {
    let read = |text: &String| unhex(text).and_then(|key| key.try_into().ok());
    let Some(key) = &proof.record_key else { return Ok(None) };
    read(key).map(Some).ok_or(ProofError::Unreadable("record_key"))
}

/// That an entry is the one of this leaf, this index and this salt and body; returns when it was received.
fn commitment(
    index: u64,
    entry: &[u8],
    proof: &ProofReport,
    content: Option<(&[u8], &[u8])>,
) -> Result<u64, ProofError> {
    let read = LogEntry::decode(entry).ok_or(ProofError::Unreadable("entry"))?;
    if read.index != index {
        return Err(ProofError::Index(read.index));
    }
    if hex(&leaf_hash(entry)) != proof.leaf_hash {
        return Err(ProofError::Leaf);
    }
    if let Some((salt, body)) = content {
        let salt = salt.try_into().map_err(|_| ProofError::Unreadable("salt"))?;
        read.commits_to(salt, body).then_some(()).ok_or(ProofError::Commitment)?;
    }
    Ok(read.received_ms)
}

/// That a leaf is the one of a record that was stored before there were entries. What is encrypted of it is all of it.
fn record(proof: &ProofReport, parts: Option<&LogBody<'_>>, whole: Option<&[u8]>) -> Result<(), ProofError> {
    let whole = match parts {
        Some(parts) if parts.sealed.is_empty() => Some(parts.open),
        _ => whole,
    };
    match whole {
        Some(whole) if hex(&leaf_hash(whole)) != proof.leaf_hash => Err(ProofError::Leaf),
        _ => Ok(()),
    }
}
