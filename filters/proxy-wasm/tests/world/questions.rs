//! What filters ask about tokens and keys.

use std::collections::{HashMap, HashSet};

use portcullis_protocol::snapshot::sign_introspection;
use portcullis_protocol::wire::{IntrospectionAnswer, IntrospectionRequest, KeyRefresh};
use portcullis_testhost::Answer;
use prost::Message;
use serde_json::Value;

/// How introspections are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// As the tokens are.
    #[default]
    Honest,
    /// Not at all.
    Silent,
    /// With this status.
    Fails(u16),
    /// By cutting the connection.
    Resets,
    /// Signed by another key.
    Forged,
    /// With the answer to another question.
    Replayed,
    /// With bytes that are no answer.
    Garbage,
}

/// The questions so far and the answers to come.
#[derive(Default)]
pub struct Questions {
    /// Active tokens and their claims.
    pub tokens: HashMap<String, Value>,
    /// How introspections are answered.
    pub provider: Provider,
    /// How refreshes are answered; none: not at all.
    pub refresh: Option<u16>,
    /// Tokens that were asked about.
    pub asked: Vec<IntrospectionRequest>,
    /// Keys that were asked for.
    pub refreshed: Vec<KeyRefresh>,
    seen: HashSet<u64>,
}

impl Questions {
    pub(super) fn introspect(&mut self, call: u64, body: &[u8], seed: [u8; 32]) -> Option<Answer> {
        let question = IntrospectionRequest::decode(body).expect("a question");
        if self.seen.insert(call) {
            self.asked.push(question.clone());
        }
        let claims = self.tokens.get(&question.token);
        let mut answer = IntrospectionAnswer {
            nonce: question.nonce,
            provider: question.provider,
            active: claims.is_some(),
            claims: claims.map(Value::to_string).unwrap_or_default().into_bytes(),
        };
        let signed = match self.provider {
            Provider::Silent => return None,
            Provider::Fails(status) => return Some(Answer::status(status)),
            Provider::Resets => return Some(Answer::reset()),
            Provider::Garbage => b"garbage".to_vec(),
            Provider::Forged => sign_introspection(&answer, [77; 32]),
            Provider::Replayed => {
                answer.nonce = vec![0; 16];
                sign_introspection(&answer, seed)
            }
            Provider::Honest => sign_introspection(&answer, seed),
        };
        Some(Answer::ok().body(signed))
    }

    pub(super) fn refresh(&mut self, call: u64, body: &[u8]) -> Option<Answer> {
        if self.seen.insert(call) {
            self.refreshed.push(KeyRefresh::decode(body).expect("a question"));
        }
        self.refresh.map(Answer::status)
    }
}
