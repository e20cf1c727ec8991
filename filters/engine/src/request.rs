//! The way of one request through one plugin.

mod again;
mod body;
mod decide;
mod phase;
mod response;

use std::rc::Rc;

use portcullis_identity::ids::Scope;
use portcullis_model::config::{Mode, PluginConfig};
use portcullis_model::{Decision, Reason, Refusal};
use portcullis_protocol::record;

use self::phase::{Arrived, BodyWish, Next, Phase, Undecided};
pub use self::phase::{Request, Verdict};
use crate::edge::resource;
use crate::exchange::answer::Answer;
use crate::exchange::registry::{self, Handle, SharedExchange};
use crate::exchange::request_state::RequestState;
use crate::head::Head;
use crate::head::headers::Headers;
use crate::metrics::Metric;
use crate::plugin::Instance;
use crate::port::{PortResult, Severity, Stream};
use crate::reply::{self, Form, Manner, OwnedReply};
use crate::stage::Ending;

impl Request {
    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal::new(self.name, reason)
    }

    /// Headers from the client. `end_of_stream`: no body follows.
    pub fn on_request_headers(&mut self, stream: &dyn Stream, end_of_stream: bool) -> Verdict {
        self.arrived.ended = end_of_stream;
        self.look(stream)
    }

    /// What the request waited for came, or its time is over: decides again, and resumes or answers. One that
    /// was let on and is still open is looked at again.
    pub fn on_wake(&mut self, stream: &dyn Stream) {
        let undecided = match &mut self.phase {
            Phase::Undecided(undecided) => undecided,
            Phase::LetOn(_) => return self.look_again(stream),
            Phase::Answered => return,
        };
        undecided.woken = true;
        if self.look(stream) == Verdict::Hold {
            return;
        }
        // What came of the body while the request waited is looked at before its head goes on.
        if self.wants_body() && stream.shows_body_of_held() && self.look_at_body(stream) == Verdict::Hold {
            return;
        }
        if let Err(error) = stream.resume() {
            let line = format!("a held request could not go on: {error}");
            stream.log(Severity::Error, &line);
        }
    }

    /// Looks at the headers and decides.
    fn look(&mut self, stream: &dyn Stream) -> Verdict {
        // Headers come once: a request that was decided has no second try.
        let Phase::Undecided(undecided) = std::mem::replace(&mut self.phase, Phase::Answered) else {
            return self.refuse(stream, self.refusal(Reason::Internal), &Manner::blind(), Mode::Enforce);
        };
        let Some(instance) = self.instance.clone() else {
            let refusal = self.refusal(Reason::Misconfigured);
            // There is no worker in which it could count.
            stream.count(Metric::Refusal(&refusal).id(), 1);
            return self.refuse(stream, refusal, &Manner::blind(), Mode::Enforce);
        };
        let mut headers = Headers::reused();
        if stream.request_headers(&mut headers).is_err() {
            return self.refuse(stream, self.refusal(Reason::Internal), &Manner::blind(), Mode::Enforce);
        }
        let verdict = self.look_at(stream, &instance, &headers, undecided);
        headers.done();
        verdict
    }

    /// Decides by these headers.
    fn look_at(
        &mut self,
        stream: &dyn Stream,
        instance: &Instance,
        headers: &Headers,
        undecided: Undecided,
    ) -> Verdict {
        let config = &instance.plugin.config;
        let head = Head::read(headers, &config.api_key_header);
        let next = match self.open(stream, &head, instance.plugin.whole) {
            Ok((exchange, first)) => {
                self.decide(stream, instance, (&head, headers), &exchange, first, undecided)
            }
            Err(refusal) => Next::Refuse(refusal),
        };
        let refusal = match next {
            Next::LetOn(wishes, open) => {
                self.open = open;
                return self.let_on(stream, wishes, || manner(config, &head));
            }
            Next::Hold(undecided) => {
                self.phase = Phase::Undecided(undecided);
                return Verdict::Hold;
            }
            Next::Answer(reply) => match self.send(stream, *reply) {
                Ok(()) => return Verdict::Hold,
                Err(_) => self.refusal(Reason::Internal),
            },
            Next::Refuse(refusal) => refusal,
        };
        self.refuse(stream, refusal, &manner(config, &head), config.mode)
    }

    /// Every stage lets the request on. A body that is asked for and that there is not is judged at once.
    fn let_on(
        &mut self,
        stream: &dyn Stream,
        wishes: Vec<BodyWish>,
        manner: impl FnOnce() -> Manner,
    ) -> Verdict {
        self.manner = (!wishes.is_empty()).then(manner);
        self.phase = Phase::LetOn(wishes);
        if self.wants_body() && self.arrived == Arrived::of_none() {
            return self.look_at_body(stream);
        }
        Verdict::Continue
    }

    /// The exchange of this request, and whether this plugin is the first of ours to see it.
    fn open(
        &mut self,
        stream: &dyn Stream,
        head: &Head<'_>,
        whole: bool,
    ) -> Result<(SharedExchange, bool), Refusal> {
        if let Some(exchange) = &self.exchange {
            return Ok((Rc::clone(exchange), self.handle.is_some() || whole));
        }
        if !whole && let Some(handle) = stream.handle().map_err(|_| self.refusal(Reason::Internal))? {
            let exchange = registry::find(&handle).ok_or_else(|| self.refusal(Reason::Internal))?;
            self.exchange = Some(Rc::clone(&exchange));
            return Ok((exchange, false));
        }
        let exchange = registry::begin();
        if let Ok(mut exchange) = exchange.try_borrow_mut() {
            exchange.started_ns = stream.wall_clock_ns().map_err(|_| self.refusal(Reason::Internal))?;
            exchange.request_length = if self.arrived.ended { Some(0) } else { head.length };
            audit_part(head, &mut exchange.audit_part);
        }
        self.exchange = Some(Rc::clone(&exchange));
        if !whole {
            let mut handle = Handle::default();
            let published = stream.random(&mut handle).and_then(|()| stream.set_handle(&handle));
            published.map_err(|_| self.refusal(Reason::Internal))?;
            registry::publish(handle, &exchange);
            self.handle = Some(handle);
        }
        Ok((exchange, true))
    }

    /// Refuses, or in dry-run notes the refusal and lets the request on without any identity.
    fn refuse(&mut self, stream: &dyn Stream, refusal: Refusal, manner: &Manner, mode: Mode) -> Verdict {
        if let Some(exchange) = &self.exchange
            && let Ok(mut exchange) = exchange.try_borrow_mut()
        {
            exchange.decision = Decision::Refuse(refusal.clone());
            exchange.answered = mode == Mode::Enforce;
        }
        // A head that went on before its body was read can be changed no more.
        if mode == Mode::DryRun && (self.arrived.behind_head || self.strip_for_dry_run(stream)) {
            self.phase = Phase::LetOn(Vec::new());
            return Verdict::Continue;
        }
        self.phase = Phase::Answered;
        if let Err(error) = self.send(stream, reply::refusal(&refusal, manner)) {
            let line = format!("a refusal could not be sent, the request stays held: {error}");
            stream.log(Severity::Error, &line);
        }
        Verdict::Hold
    }

    /// Sends an answer of ours, as the stages want it that kept something of the request.
    fn send(&self, stream: &dyn Stream, mut reply: OwnedReply) -> PortResult<()> {
        let exchange = self.exchange.as_ref().and_then(|exchange| exchange.try_borrow().ok());
        if let Some(exchange) = exchange.filter(|exchange| !exchange.kept.is_empty()) {
            self.ask_stages(&mut Answer::reply(&exchange, &mut reply.headers))?;
        }
        reply.send(stream)
    }

    /// Shows an answer to every stage.
    fn ask_stages(&self, answer: &mut Answer<'_>) -> PortResult<()> {
        let stages = self.instance.as_ref().map(|instance| &instance.plugin.stages.all);
        stages.into_iter().flatten().try_for_each(|stage| stage.on_response_headers(answer))
    }

    fn strip_for_dry_run(&self, stream: &dyn Stream) -> bool {
        let Some(instance) = &self.instance else { return false };
        let mut headers = Headers::default();
        if stream.request_headers(&mut headers).is_err() {
            return false;
        }
        let head = Head::read(&headers, &instance.plugin.config.api_key_header);
        head.reserved.iter().all(|name| stream.remove_request_header(name).is_ok())
    }

    /// The request has ended, however it did.
    pub fn on_end(&mut self, stream: &dyn Stream) {
        let Some(instance) = self.instance.as_ref().filter(|i| i.plugin.records) else { return };
        let seen = self.seen(stream);
        let unseen;
        let borrowed = seen.as_ref().and_then(|exchange| exchange.try_borrow().ok());
        let exchange = match &borrowed {
            Some(exchange) => &**exchange,
            None => {
                unseen = Self::unseen(stream);
                &unseen
            }
        };
        let ending = self.ending(stream, instance, exchange);
        instance.plugin.stages.recording.iter().for_each(|stage| stage.on_end(&ending));
    }

    /// What stages are shown that record the request.
    fn ending<'a>(
        &self,
        stream: &'a dyn Stream,
        instance: &'a Instance,
        exchange: &'a RequestState,
    ) -> Ending<'a> {
        let response = self.response;
        Ending { stream, worker: &instance.worker, exchange, response, hop: &instance.hop }
    }

    /// The exchange, also when no request callback of this plugin ran.
    fn seen(&self, stream: &dyn Stream) -> Option<SharedExchange> {
        if let Some(exchange) = &self.exchange {
            return Some(Rc::clone(exchange));
        }
        stream.handle().ok().flatten().and_then(|handle| registry::find(&handle))
    }

    /// What can be told of a request that ended before any plugin of ours saw it.
    fn unseen(stream: &dyn Stream) -> RequestState {
        let mut exchange = RequestState::default();
        let mut headers = Headers::reused();
        if stream.request_headers(&mut headers).is_ok() {
            audit_part(&Head::read(&headers, ""), &mut exchange.audit_part);
        }
        headers.done();
        exchange
    }
}

/// How a refusal is told to the caller.
fn manner(config: &PluginConfig, head: &Head<'_>) -> Manner {
    Manner {
        form: Form::of(head),
        request_id: String::from_utf8_lossy(head.request_id).into_owned(),
        metadata: resource::metadata_url(config, head),
        scope: config.resource.as_ref().map(|r| Scope::list(&r.required_scopes)).unwrap_or_default(),
    }
}

/// Appends what an audit record says of a request, encoded.
fn audit_part(head: &Head<'_>, out: &mut Vec<u8>) {
    record::request(head.request_id, head.traceparent, head.method, head.target(), out);
    if head.mcp {
        record::mcp(head.mcp_method, head.mcp_name, out);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.no_longer_open();
        if let Some(handle) = &self.handle {
            registry::withdraw(handle);
        }
        self.exchange.take().into_iter().for_each(registry::end);
    }
}
