//! What filters ask about tokens and keys.

use std::collections::{HashMap, HashSet};

use portcullis_protocol::snapshot::sign_introspection;
use portcullis_protocol::wire::{IntrospectionAnswer, IntrospectionRequest, KeyRefresh};
use prost::Message;
use serde_json::Value;

use crate::ask::Answer;

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
#[derive(Debug, Default)]
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
    /// Answers whether a token is active. `call` tells a question that waits from a new one.
    pub(crate) fn introspect(&mut self, call: u64, body: &[u8], seed: [u8; 32]) -> Answer {
        let Ok(question) = IntrospectionRequest::decode(body) else { return Answer::Status(400) };
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
            Provider::Silent => return Answer::Wait,
            Provider::Fails(status) => return Answer::Status(status),
            Provider::Resets => return Answer::Reset,
            Provider::Garbage => b"garbage".to_vec(),
            Provider::Forged => sign_introspection(&answer, [77; 32]),
            Provider::Replayed => {
                answer.nonce = vec![0; 16];
                sign_introspection(&answer, seed)
            }
            Provider::Honest => sign_introspection(&answer, seed),
        };
        Answer::Body(signed)
    }

    /// Answers whether a key was fetched.
    pub(crate) fn refresh(&mut self, call: u64, body: &[u8]) -> Answer {
        let Ok(question) = KeyRefresh::decode(body) else { return Answer::Status(400) };
        if self.seen.insert(call) {
            self.refreshed.push(question);
        }
        self.refresh.map_or(Answer::Wait, Answer::Status)
    }
}
