//! Asking a provider what an opaque access token stands for (RFC 7662).
//!
//! Neither the token nor the client secret reaches a log, an error or a metric.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use portcullis_control_config::{ClientAuth, IntrospectionConfig};
use portcullis_model::fair::{ClientNetwork, has_room};
use portcullis_model::outage::Outage;
use reqwest::Client;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::causes::causes;
use crate::outbound::{self, CallError};
use crate::replicas::{Replicas, Share};

/// Bytes of an answer at most: it goes to a filter in one message.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a provider that asks for it (`Retry-After`) is left alone at most: all that time its good tokens are refused,
/// and what made it ask may have been somebody who sent bad ones.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How long a call waits for this replica's part of what all of them may do: the others take about a second to notice it, and
/// a gateway waits two for the answer.
const JOIN: Duration = Duration::from_millis(1_500);
/// Time between two lines about one provider.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Why there is no answer. The token must be refused then.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    /// There is no such provider.
    #[error("there is no introspection provider of this name")]
    Unknown,
    /// As many calls as the configuration allows are under way, or this source has as many as are free.
    #[error("too many calls to this provider are under way, in all or for this client")]
    Busy,
    /// The provider cannot be asked, or its answer cannot be used.
    #[error("the provider {0}")]
    Provider(String),
}

impl IntrospectError {
    /// Its name in metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_provider",
            Self::Busy => "busy",
            Self::Provider(_) => "failed",
        }
    }
}

/// What a provider said of a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Introspected {
    /// It is good; its claims.
    Active(Map<String, Value>),
    /// It is not good, for whatever reason.
    Inactive,
}

struct Provider {
    config: IntrospectionConfig,
    client: Client,
    slots: Slots,
    trouble: Mutex<Trouble>,
}

/// What is remembered of a provider that fails.
#[derive(Default)]
struct Trouble {
    outage: Outage,
    said_at: Option<Instant>,
    /// Until when it wants not to be asked about opaque tokens, and about JWTs. Anybody can make up any number of the
    /// former; of the latter a filter has verified each. So what the former bring about is none of the latter's.
    not_before: [Option<Instant>; 2],
}

/// Which of these a token is.
fn kind(token: &str) -> usize {
    usize::from(!portcullis_authn::introspection::is_opaque(token.as_bytes()))
}

/// The calls under way, by where the tokens come from: no source has more than are free.
#[derive(Default)]
struct Slots {
    used: Mutex<HashMap<ClientNetwork, usize>>,
}

/// A call's place; free again when it is dropped.
struct Slot<'a> {
    slots: &'a Slots,
    source: ClientNetwork,
}

impl Slots {
    fn take(&self, source: ClientNetwork, most: usize) -> Option<Slot<'_>> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let own = used.get(&source).copied().unwrap_or_default();
        if !has_room(own, used.values().sum(), most) {
            return None;
        }
        used.insert(source, own + 1);
        Some(Slot { slots: self, source })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut used = self.slots.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.get_mut(&self.source) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                used.remove(&self.source);
            }
        }
    }
}

/// The providers of the current policy.
pub struct Providers {
    of: HashMap<String, Arc<Provider>>,
    /// Who else asks them.
    replicas: Option<Arc<Replicas>>,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.of.keys()).finish()
    }
}

impl Providers {
    /// Makes the clients. A provider whose client cannot be made is left out, and the log says why: what
    /// asks it is refused. `replicas`: those that ask them as well, if there can be any.
    #[must_use]
    pub fn new(configs: &[IntrospectionConfig], replicas: Option<Arc<Replicas>>) -> Self {
        let mut of = HashMap::new();
        for config in configs {
            let name = config.document.name.clone();
            match outbound::client(&config.endpoint, config.timeout) {
                Ok(client) => {
                    let (config, slots, trouble) = (config.clone(), Slots::default(), Mutex::default());
                    of.insert(name, Arc::new(Provider { config, client, slots, trouble }));
                }
                Err(error) => tracing::error!(provider = name, error = causes(&error), "cannot be asked"),
            }
        }
        Self { of, replicas }
    }

    /// Asks a provider about a token that a source presented.
    ///
    /// # Errors
    /// [`IntrospectError`]; the token must be refused then.
    pub async fn ask(
        &self,
        provider: &str,
        token: &str,
        source: ClientNetwork,
    ) -> Result<Introspected, IntrospectError> {
        let provider = self.of.get(provider).ok_or(IntrospectError::Unknown)?;
        let share = match &self.replicas {
            None => Share::WHOLE,
            Some(replicas) => replicas.share_within(JOIN).await.ok_or(IntrospectError::Busy)?,
        };
        let most = share.part(provider.config.max_in_flight);
        let Some(_slot) = provider.slots.take(source, most) else { return Err(IntrospectError::Busy) };
        let kind = kind(token);
        if provider.rests(kind) {
            return Err(IntrospectError::Provider("asked to be left alone for a moment".to_owned()));
        }
        let answer = provider.call(token).await;
        let asked = answer.as_ref().err().and_then(CallError::retry_after);
        let told = answer.map_err(|e| IntrospectError::Provider(causes(&e))).and_then(|body| read(&body));
        provider.note(kind, told.as_ref().err(), asked);
        told
    }
}

impl Provider {
    fn rests(&self, kind: usize) -> bool {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.not_before[kind].is_some_and(|at| Instant::now() < at)
    }

    /// Takes note of how a call ended. The log has one line when a provider begins to fail, fails in another way, or
    /// works again, and no more than one in a second of one that does now this and now that.
    fn note(&self, kind: usize, error: Option<&IntrospectError>, asked: Option<Duration>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let (provider, now) = (&self.config.document.name, Instant::now());
        let Trouble { outage, said_at, not_before } = &mut *trouble;
        let Some(error) = error else {
            if let Some(failures) = outage.over() {
                tracing::info!(provider, failures, "tokens are introspected again");
            }
            return;
        };
        not_before[kind] = asked.map(|asked| now + asked.min(LONGEST_REST));
        let may_say = || said_at.is_none_or(|at| now.saturating_duration_since(at) >= SAY_EVERY);
        if outage.failed(&error.to_string(), may_say) {
            *said_at = Some(now);
            tracing::warn!(provider, %error, "tokens cannot be introspected");
        }
    }

    async fn call(&self, token: &str) -> Result<Vec<u8>, CallError> {
        let mut request = self
            .client
            .post(self.config.endpoint.url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(self.form(token));
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        outbound::body(request.send().await?, MAX_ANSWER).await
    }

    fn form(&self, token: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", "access_token");
        if self.config.client_auth == ClientAuth::Post {
            form.append_pair("client_id", self.config.client_id.as_str());
            form.append_pair("client_secret", &self.secret());
        }
        form.finish()
    }

    /// The secret as text, which the configuration has checked that it is.
    fn secret(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(self.config.client_secret.reveal()).into_owned())
    }

    /// HTTP Basic. RFC 6749 §2.3.1: id and secret are form-encoded before; not every provider decodes them.
    fn authorization(&self) -> Option<String> {
        let (id, secret) = (self.config.client_id.as_str(), self.secret());
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(match self.config.client_auth {
            ClientAuth::Basic => [encode(id).as_str(), &encode(&secret)].join(":"),
            ClientAuth::BasicUnencoded => [id, &secret].join(":"),
            ClientAuth::Post => return None,
        });
        Some(["Basic ", &base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())].concat())
    }
}

/// Reads an answer (RFC 7662 §2.2): only a member `active` that is `true` makes a token good.
fn read(body: &[u8]) -> Result<Introspected, IntrospectError> {
    let malformed = || IntrospectError::Provider("does not answer by RFC 7662".to_owned());
    let claims = portcullis_model::strict_json::object(body).ok_or_else(malformed)?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(Introspected::Active(claims)),
        Some(Value::Bool(false)) => Ok(Introspected::Inactive),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back_and_no_source_takes_all() {
        let (slots, most) = (Slots::default(), 4);
        let (one, two) = (ClientNetwork::V4([1; 4]), ClientNetwork::V4([2; 4]));
        let held: Vec<_> = (0..4).filter_map(|_| slots.take(one, most)).collect();
        assert_eq!(held.len(), 2);
        let other = slots.take(two, most);
        assert!(other.is_some() && slots.take(one, most).is_none());
        drop((held, other));
        assert!(slots.used.lock().unwrap().is_empty(), "sources that are gone take no memory");
    }

    #[test]
    fn only_a_clear_answer_counts() {
        assert!(
            matches!(read(br#"{"active":true,"sub":"a"}"#), Ok(Introspected::Active(c)) if c["sub"] == "a")
        );
        assert!(matches!(read(br#"{"active":false,"sub":"a"}"#), Ok(Introspected::Inactive)));
        for bad in [
            "",
            "{}",
            "[]",
            "true",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"active":false,"active":true}"#,
        ] {
            assert!(matches!(read(bad.as_bytes()), Err(IntrospectError::Provider(_))), "{bad}");
        }
    }
}
