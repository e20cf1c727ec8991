//! From a request to its answer.

use portcullis_protocol::audit::unhex;
use portcullis_protocol::snapshot::{public_key, sign_page};
use portcullis_protocol::wire::{AuditAck, AuditBatch, AuditRecord, Page};
use prost::Message;

use crate::ask::{Answer, Ask};
use crate::questions::Questions;
use crate::store::{Poll, Store};

/// The mesh API of a control service that keeps everything in memory.
#[derive(Debug)]
pub struct MeshApi {
    /// The snapshot.
    pub store: Store,
    /// What was asked about tokens and keys, and how it is answered.
    pub questions: Questions,
    /// Seed of the key that signs; a test changes it to sign by another one.
    pub signing_seed: [u8; 32],
    /// Whether audit records are taken; else the answer is 503.
    pub acknowledge: bool,
    /// Whether audit records are kept as well as counted.
    pub keep_records: bool,
    /// Audit records that were kept.
    pub records: Vec<AuditRecord>,
    /// Audit records that were taken.
    pub taken: u64,
    authorization: String,
}

impl MeshApi {
    /// An API with an empty snapshot, which takes this mesh token alone.
    #[must_use]
    pub fn new(token: &str, signing_seed: [u8; 32]) -> Self {
        Self {
            store: Store::default(),
            questions: Questions::default(),
            signing_seed,
            acknowledge: true,
            keep_records: true,
            records: Vec::new(),
            taken: 0,
            authorization: format!("Bearer {token}"),
        }
    }

    /// The public key of the pages.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        public_key(self.signing_seed)
    }

    /// Answers a request.
    pub fn answer(&mut self, ask: &Ask<'_>) -> Answer {
        if ask.authorization != self.authorization {
            return Answer::Status(401);
        }
        let (path, query) = ask.path.split_once('?').unwrap_or((ask.path, ""));
        match path {
            "/mesh/v1/snapshot" => self.page(query),
            "/mesh/v1/audit" => self.take_records(ask.body),
            "/mesh/v1/introspect" => self.questions.introspect(ask.call, ask.body, self.signing_seed),
            "/mesh/v1/keys/refresh" => self.questions.refresh(ask.call, ask.body),
            _ => Answer::Status(404),
        }
    }

    /// The page for a poll whose query is this; it waits while there is no news.
    #[must_use]
    pub fn page(&self, query: &str) -> Answer {
        match poll(query) {
            Some(poll) => self.store.page(&poll).map_or(Answer::Wait, |page| self.sign(&page)),
            None => Answer::Status(400),
        }
    }

    /// The answer to a poll that has waited long enough.
    #[must_use]
    pub fn no_news(&self, query: &str) -> Answer {
        poll(query).map_or(Answer::Status(400), |poll| self.sign(&self.store.no_news(&poll)))
    }

    fn sign(&self, page: &Page) -> Answer {
        Answer::Body(sign_page(page, self.signing_seed))
    }

    fn take_records(&mut self, body: &[u8]) -> Answer {
        if !self.acknowledge {
            return Answer::Status(503);
        }
        let Ok(batch) = AuditBatch::decode(body) else { return Answer::Status(400) };
        if self.keep_records {
            let read: Result<Vec<_>, _> =
                batch.records.iter().map(|record| AuditRecord::decode(record.as_slice())).collect();
            let Ok(read) = read else { return Answer::Status(400) };
            self.records.extend(read);
        }
        let stored = batch.records.len() as u64;
        self.taken += stored;
        Answer::Body(AuditAck { stored, ..AuditAck::default() }.encode_to_vec())
    }
}

/// What a query says; `None` when it cannot be read.
pub(crate) fn poll(query: &str) -> Option<Poll> {
    let mut poll = Poll::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "view" => poll.view = value.into_owned(),
            "generation" => poll.generation = unhex(&value)?,
            "cursor" => poll.cursor = unhex(&value)?,
            "nonce" => poll.nonce = unhex(&value)?,
            "revision" => poll.revision = value.parse().ok()?,
            _ => {}
        }
    }
    let known = poll.view == "gateway" || poll.view.starts_with("public:");
    (known && !poll.nonce.is_empty()).then_some(poll)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::put;
    use portcullis_protocol::snapshot::verify_page;
    use portcullis_protocol::wire::RecordKind;

    fn ask<'a>(path: &'a str, authorization: &'a str, body: &'a [u8]) -> Ask<'a> {
        Ask { call: 1, path, authorization, body }
    }

    #[test]
    fn a_poll_gets_a_signed_page_and_then_waits_for_news() {
        let mut api = MeshApi::new("t", [1; 32]);
        api.store.replace(vec![put(RecordKind::Cluster, b"a", vec![])]);
        let nonce = "00112233445566778899aabbccddeeff";
        let first = format!("/mesh/v1/snapshot?view=gateway&generation=&revision=0&cursor=&nonce={nonce}");
        let Answer::Body(page) = api.answer(&ask(&first, "Bearer t", b"")) else { panic!("a page") };
        let page = verify_page(&page, &api.key(), &unhex(nonce).unwrap(), "gateway").unwrap();
        assert!(page.page().reset && page.page().records.len() == 1);
        let generation = "00000000000000000000000000000001";
        let next = format!("/mesh/v1/snapshot?view=gateway&generation={generation}&revision=1&nonce={nonce}");
        assert_eq!(api.answer(&ask(&next, "Bearer t", b"")), Answer::Wait);
        api.store.change(vec![put(RecordKind::Cluster, b"b", vec![])]);
        assert!(matches!(api.answer(&ask(&next, "Bearer t", b"")), Answer::Body(_)));
    }

    #[test]
    fn another_token_another_path_and_what_cannot_be_read_are_refused() {
        let mut api = MeshApi::new("t", [1; 32]);
        assert_eq!(api.answer(&ask("/mesh/v1/audit", "Bearer x", b"")), Answer::Status(401));
        assert_eq!(api.answer(&ask("/mesh/v1/other", "Bearer t", b"")), Answer::Status(404));
        assert_eq!(api.answer(&ask("/mesh/v1/audit", "Bearer t", b"\xff")), Answer::Status(400));
        for query in [
            "view=gateway",
            "view=other&nonce=00",
            "view=gateway&nonce=0",
            "view=gateway&nonce=00&revision=x",
        ] {
            assert_eq!(api.page(query), Answer::Status(400), "{query}");
        }
        api.acknowledge = false;
        assert_eq!(api.answer(&ask("/mesh/v1/audit", "Bearer t", b"")), Answer::Status(503));
    }
}
