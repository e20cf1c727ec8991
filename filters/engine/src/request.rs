//! The way of one request through one plugin.
//!
//! A request is [`Phase::Undecided`] until every stage has let it on, and then [`Phase::LetOn`]; or it is
//! [`Phase::Answered`] here. One that has to wait stays undecided and is decided anew when it is woken.

mod decide;

use std::rc::Rc;

use portcullis_model::config::{Mode, is_reserved_header};
use portcullis_model::{Reason, Refusal};
use portcullis_protocol::record;
use portcullis_protocol::scan::{number, same};

use crate::head::Head;
use crate::headers::Headers;
use crate::metrics::Metric;
use crate::port::{PortResult, Severity, Stream, StreamKey};
use crate::registry::{self, Handle, SharedExchange};
use crate::reply::{self, Form, Manner, OwnedReply};
use crate::request_state::{Decision, RequestState, Response};
use crate::resource;
use crate::stage::Ending;
use crate::waiting::Waited;
use crate::worker::Instance;

/// What the proxy does after a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hands the message on.
    Continue,
    /// Holds it until it is resumed or answered.
    Hold,
}

/// A request that no stage has let on yet.
#[derive(Debug, Default)]
struct Undecided {
    /// True once it has waited.
    woken: bool,
    /// For what.
    waited: Waited,
}

/// A stage that wants to see the body, and up to how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BodyWish {
    stage: usize,
    most: usize,
}

/// How far a request has come.
#[derive(Debug)]
enum Phase {
    /// Its headers came, or will come.
    Undecided(Undecided),
    /// Every stage let it on; these still want its body.
    LetOn(Vec<BodyWish>),
    /// This plugin answered it.
    Answered,
}

/// What a look at the headers led to.
enum Next {
    LetOn(Vec<BodyWish>),
    Hold(Undecided),
    Refuse(Refusal),
    Answer(OwnedReply),
}

impl From<Refusal> for Next {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// A request in one plugin.
pub struct Request {
    key: StreamKey,
    /// The root id.
    name: &'static str,
    /// `None` when the plugin's configuration is bad.
    instance: Option<Instance>,
    exchange: Option<SharedExchange>,
    /// The handle, where this plugin made it.
    handle: Option<Handle>,
    phase: Phase,
    /// True when no body follows the request's headers.
    bodiless: bool,
    response: Response,
}

impl Request {
    /// A request that begins. `instance`: none when the plugin's configuration is bad; the request is refused
    /// then.
    #[must_use]
    pub fn new(key: StreamKey, name: &'static str, instance: Option<Instance>) -> Self {
        Self {
            key,
            name,
            instance,
            exchange: None,
            handle: None,
            phase: Phase::Undecided(Undecided::default()),
            bodiless: false,
            response: Response::default(),
        }
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal::new(self.name, reason)
    }

    /// Headers from the client. `end_of_stream`: no body follows.
    pub fn on_request_headers(&mut self, stream: &dyn Stream, end_of_stream: bool) -> Verdict {
        self.bodiless = end_of_stream;
        self.look(stream)
    }

    /// What the request waited for came, or its time is over: decides again, and resumes or answers. One whose
    /// body a stage wants is not resumed: it goes on when the target has shown the body.
    pub fn on_wake(&mut self, stream: &dyn Stream) {
        let Phase::Undecided(undecided) = &mut self.phase else { return };
        undecided.woken = true;
        if self.look(stream) == Verdict::Continue
            && (self.bodiless || !self.wants_body())
            && let Err(error) = stream.resume()
        {
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
            Next::LetOn(bodies) => {
                self.phase = Phase::LetOn(bodies);
                return Verdict::Continue;
            }
            Next::Hold(undecided) => {
                self.phase = Phase::Undecided(undecided);
                return Verdict::Hold;
            }
            Next::Answer(reply) => match reply.send(stream) {
                Ok(()) => return Verdict::Hold,
                Err(_) => self.refusal(Reason::Internal),
            },
            Next::Refuse(refusal) => refusal,
        };
        let manner = Manner {
            form: Form::of(&head),
            request_id: String::from_utf8_lossy(head.request_id).into_owned(),
            metadata: resource::metadata_url(config, &head),
        };
        self.refuse(stream, refusal, &manner, config.mode)
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
            exchange.request_length = if self.bodiless { Some(0) } else { head.length };
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
        if mode == Mode::DryRun && self.strip_for_dry_run(stream) {
            self.phase = Phase::LetOn(Vec::new());
            return Verdict::Continue;
        }
        self.phase = Phase::Answered;
        if let Err(error) = reply::refuse(stream, &refusal, manner) {
            let line = format!("a refusal could not be sent, the request stays held: {error}");
            stream.log(Severity::Error, &line);
        }
        Verdict::Hold
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

    /// Whether a stage still wants to see the body.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        matches!(&self.phase, Phase::LetOn(bodies) if !bodies.is_empty())
    }

    /// Whether nothing holds its body and no stage wants to see it.
    #[must_use]
    pub fn passes_body(&self) -> bool {
        matches!(&self.phase, Phase::LetOn(bodies) if bodies.is_empty())
    }

    /// A part of the body came; `length` bytes of it are there. `end_of_stream`: it was the last.
    pub fn on_request_body(&mut self, stream: &dyn Stream, length: usize, end_of_stream: bool) -> Verdict {
        let bodies = match &mut self.phase {
            Phase::LetOn(bodies) if bodies.is_empty() => return Verdict::Continue,
            Phase::LetOn(bodies) => bodies,
            Phase::Undecided(_) | Phase::Answered => return Verdict::Hold,
        };
        let most = bodies.iter().map(|wish| wish.most).min().unwrap_or_default();
        if length <= most && !end_of_stream {
            return Verdict::Hold;
        }
        let bodies = std::mem::take(bodies);
        let refused = if length > most {
            Err(self.refusal(Reason::BodyTooLarge))
        } else {
            self.read_body(stream, most, &bodies)
        };
        let Err(refusal) = refused else { return Verdict::Continue };
        let mode = self.instance.as_ref().map_or(Mode::Enforce, |i| i.plugin.config.mode);
        self.refuse(stream, refusal, &Manner::blind(), mode)
    }

    fn read_body(&self, stream: &dyn Stream, most: usize, bodies: &[BodyWish]) -> Result<(), Refusal> {
        let internal = || self.refusal(Reason::Internal);
        let body = stream.request_body(most).map_err(|_| internal())?;
        let instance = self.instance.as_ref().ok_or_else(internal)?;
        let exchange = self.exchange.as_ref().ok_or_else(internal)?;
        let mut exchange = exchange.try_borrow_mut().map_err(|_| internal())?;
        let mut stages = bodies.iter().filter_map(|wish| instance.plugin.stages.get(wish.stage));
        stages.try_for_each(|stage| stage.on_request_body(&mut exchange, &body))
    }

    /// Headers to the client. `end_of_stream`: no body follows.
    pub fn on_response_headers(&mut self, stream: &dyn Stream, end_of_stream: bool) -> Verdict {
        self.response.length = end_of_stream.then_some(0);
        // An earlier filter of ours may have answered before this one saw the request.
        let shared = || self.seen(stream).is_some_and(|e| e.try_borrow().is_ok_and(|e| e.answered));
        let answered = matches!(self.phase, Phase::Answered) || shared();
        match self.read_response(stream, answered) {
            Err(error) if !answered => {
                let line = format!("a response that cannot be cleaned is withheld: {error}");
                stream.log(Severity::Error, &line);
                self.refuse(stream, self.refusal(Reason::Internal), &Manner::blind(), Mode::Enforce)
            }
            _ => Verdict::Continue,
        }
    }

    /// Notes what the record says of the response, and unless it is `ours` takes away what an upstream says
    /// under our name.
    fn read_response(&mut self, stream: &dyn Stream, ours: bool) -> PortResult<()> {
        let mut headers = Headers::reused();
        let read = stream.response_headers(&mut headers).and_then(|()| {
            for (name, value) in &headers {
                match name.len() {
                    7 if same(name, b":status") => {
                        self.response.status = number(value).and_then(|status| status.try_into().ok());
                    }
                    14 if same(name, b"content-length") => self.response.length = number(value),
                    _ if !ours && is_reserved_header(name) => stream.remove_response_header(name)?,
                    _ => {}
                }
            }
            Ok(())
        });
        headers.done();
        read
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
        let ending = Ending {
            stream,
            worker: &instance.worker,
            exchange,
            response: self.response,
            hop: &instance.hop,
        };
        instance.plugin.stages.iter().for_each(|stage| stage.on_end(&ending));
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

/// Appends what an audit record says of a request, encoded.
fn audit_part(head: &Head<'_>, out: &mut Vec<u8>) {
    record::request(head.request_id, head.traceparent, head.method, head.target(), out);
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            registry::withdraw(handle);
        }
        self.exchange.take().into_iter().for_each(registry::end);
    }
}
