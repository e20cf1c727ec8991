//! The HTTP context: runs the stages over one request.

mod decide;

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_host::{Action, ContextId, Host, HostResult, HttpContext, LogLevel, MapType};
use portcullis_model::config::Mode;
use portcullis_model::{Reason, Refusal};

use crate::exchange::{Decision, Exchange};
use crate::head::Head;
use crate::identify::Waits;
use crate::places;
use crate::platform;
use crate::record::{self, Response};
use crate::refuse::{self, Answer, Form};
use crate::root::Ready;
use crate::stages::Stages;
use crate::vm::{self, Handle, SharedExchange};
use crate::waiting::Awaited;

const REQUEST: MapType = MapType::HttpRequestHeaders;
const RESPONSE: MapType = MapType::HttpResponseHeaders;

/// The filter-state name under which plugins hand a request over. One segment: Envoy finds a property
/// that a plugin set by the first segment of its path only.
const HANDLE: [&str; 1] = ["portcullis.exchange"];

/// A request in one plugin.
pub(crate) struct Request {
    id: ContextId,
    root: u64,
    stages: Stages,
    ready: Option<Ready>,
    exchange: Option<SharedExchange>,
    /// The handle, where this plugin made it.
    handle: Option<Handle>,
    /// When a held request is refused, by the monotonic clock.
    held_until_ms: Option<u64>,
    /// True once it has waited.
    woken: bool,
    /// What the credential has been waited for.
    waits: Waits,
    /// True when this plugin answered the request itself.
    answered: bool,
    /// True when no body follows the request's headers.
    bodiless: bool,
    response: Response,
}

/// How a request goes on.
enum Next {
    Forward,
    Hold,
    Refuse(Refusal),
    /// Already answered.
    Answered,
}

impl From<Refusal> for Next {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Why the stages did not come to their end.
enum Stop {
    Refuse(Refusal),
    /// The request has to wait, until this time at most.
    Wait(Awaited, u64),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl Request {
    /// A request that begins.
    #[must_use]
    pub(crate) fn new(id: ContextId, root: u64, stages: Stages, ready: Option<Ready>) -> Self {
        Self {
            id,
            root,
            stages,
            ready,
            exchange: None,
            handle: None,
            held_until_ms: None,
            woken: false,
            waits: Waits::default(),
            answered: false,
            bodiless: false,
            response: Response::default(),
        }
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal::new(self.stages.name, reason)
    }

    /// Runs the stages; called again when a held request is woken.
    fn run(&mut self, host: &dyn Host) -> Action {
        let blind = Answer::blind();
        let Some(ready) = self.ready.clone() else {
            return self.refuse(host, self.refusal(Reason::Misconfigured), &blind, Mode::Enforce);
        };
        let mode = ready.config.mode;
        let Ok(pairs) = host.pairs(REQUEST) else {
            return self.refuse(host, self.refusal(Reason::Internal), &blind, Mode::Enforce);
        };
        let mut head = Head::read(&pairs, &ready.config.api_key_header);
        let in_query = places::in_query(head.path, &ready.config.tokens);
        if !ready.config.tokens.is_usual() {
            places::collect(&pairs, &in_query, &ready.config.tokens, &mut head.presented);
        }
        let form = match (head.grpc, head.mcp) {
            (true, _) => Form::Grpc,
            (_, true) => Form::JsonRpc,
            _ => Form::Problem,
        };
        let next = match self.open(host, &head) {
            Ok((exchange, first)) => self.decide(host, &ready, &head, &exchange, first),
            Err(refusal) => Next::Refuse(refusal),
        };
        match next {
            Next::Forward => Action::Continue,
            Next::Hold | Next::Answered => Action::Pause,
            Next::Refuse(refusal) => {
                let request_id = String::from_utf8_lossy(head.request_id).into_owned();
                let metadata = platform::metadata_url(&ready.config, &head, form);
                self.refuse(host, refusal, &Answer { form, request_id, metadata }, mode)
            }
        }
    }

    /// The exchange of this request, and whether this plugin is the first of ours to see it.
    fn open(&mut self, host: &dyn Host, head: &Head<'_>) -> Result<(SharedExchange, bool), Refusal> {
        if let Some(exchange) = &self.exchange {
            return Ok((Rc::clone(exchange), self.handle.is_some() || self.stages.is_whole()));
        }
        if !self.stages.is_whole()
            && let Some(handle) = host.property(&HANDLE).map_err(|_| self.refusal(Reason::Internal))?
        {
            let exchange = vm::find(&handle).ok_or_else(|| self.refusal(Reason::Internal))?;
            self.exchange = Some(Rc::clone(&exchange));
            return Ok((exchange, false));
        }
        let exchange = Rc::new(RefCell::new(Exchange {
            audit_part: head.audit_part(),
            started_ns: host.now().map_err(|_| self.refusal(Reason::Internal))?,
            request_length: if self.bodiless { Some(0) } else { head.length },
            ..Exchange::default()
        }));
        self.exchange = Some(Rc::clone(&exchange));
        if !self.stages.is_whole() {
            let mut handle = Handle::default();
            let published = host.random(&mut handle).and_then(|()| host.set_property(&HANDLE, &handle));
            published.map_err(|_| self.refusal(Reason::Internal))?;
            vm::publish(handle, &exchange);
            self.handle = Some(handle);
        }
        Ok((exchange, true))
    }

    /// Refuses, or in dry-run notes the refusal and lets the request on without any identity.
    fn refuse(&mut self, host: &dyn Host, refusal: Refusal, answer: &Answer, mode: Mode) -> Action {
        if let Some(exchange) = &self.exchange
            && let Ok(mut exchange) = exchange.try_borrow_mut()
        {
            exchange.decision = Decision::Refuse(refusal.clone());
            exchange.answered = mode == Mode::Enforce;
        }
        if mode == Mode::DryRun && self.strip_for_dry_run(host) {
            return Action::Continue;
        }
        self.answered = true;
        if let Err(error) = refuse::send(host, &refusal, answer) {
            host.log(
                LogLevel::Error,
                &format!("a refusal could not be sent, the request stays held: {error}"),
            );
        }
        Action::Pause
    }

    fn strip_for_dry_run(&self, host: &dyn Host) -> bool {
        let Some(ready) = &self.ready else { return false };
        let Ok(pairs) = host.pairs(REQUEST) else { return false };
        let head = Head::read(&pairs, &ready.config.api_key_header);
        head.reserved.iter().all(|name| host.remove_header(REQUEST, name).is_ok())
    }

    /// Notes what the record says of the response, and unless it is `ours` takes away what an upstream says
    /// under our name.
    fn read_response(&mut self, host: &dyn Host, ours: bool) -> HostResult<()> {
        let pairs = host.pairs(RESPONSE)?;
        let text = |value| std::str::from_utf8(value).ok();
        for (name, value) in &pairs {
            if name == b":status" {
                self.response.status = text(value).and_then(|s| s.parse().ok());
            } else if name == b"content-length" {
                self.response.length = text(value).and_then(|s| s.parse().ok());
            } else if !ours && portcullis_model::config::is_reserved_header(name) {
                host.remove_header(RESPONSE, name)?;
            }
        }
        Ok(())
    }

    /// The exchange, also when no request callback of this plugin ran.
    fn seen(&self, host: &dyn Host) -> Option<SharedExchange> {
        if let Some(exchange) = &self.exchange {
            return Some(Rc::clone(exchange));
        }
        host.property(&HANDLE).ok().flatten().and_then(|handle| vm::find(&handle))
    }

    /// What can be told of a request that ended before any plugin of ours saw it.
    fn unseen(host: &dyn Host) -> Exchange {
        let Ok(pairs) = host.pairs(REQUEST) else { return Exchange::default() };
        let head = Head::read(&pairs, "");
        Exchange { audit_part: head.audit_part(), ..Exchange::default() }
    }
}

impl HttpContext for Request {
    fn on_request_headers(&mut self, host: &dyn Host, end_of_stream: bool) -> Action {
        self.bodiless = end_of_stream;
        self.run(host)
    }

    fn on_wake(&mut self, host: &dyn Host) {
        self.woken = true;
        if self.run(host) == Action::Continue
            && let Err(error) = host.resume_http_request()
        {
            host.log(LogLevel::Error, &format!("a held request could not go on: {error}"));
        }
    }

    fn on_response_headers(&mut self, host: &dyn Host, end_of_stream: bool) -> Action {
        self.response.length = end_of_stream.then_some(0);
        let shared = self.exchange.as_ref().is_some_and(|e| e.try_borrow().is_ok_and(|e| e.answered));
        let answered = self.answered || shared;
        match self.read_response(host, answered) {
            Err(error) if !answered => {
                host.log(LogLevel::Error, &format!("a response that cannot be cleaned is withheld: {error}"));
                self.refuse(host, self.refusal(Reason::Internal), &Answer::blind(), Mode::Enforce)
            }
            _ => Action::Continue,
        }
    }

    fn on_log(&mut self, host: &dyn Host) {
        if !self.stages.audit {
            return;
        }
        let Some(ready) = &self.ready else { return };
        let Ok(mut link) = ready.link.try_borrow_mut() else { return };
        let seen = self.seen(host);
        match seen.as_ref().and_then(|e| e.try_borrow().ok()) {
            Some(exchange) => record::write(host, &mut link, &exchange, &ready.audit_part, self.response),
            None => record::write(host, &mut link, &Self::unseen(host), &ready.audit_part, self.response),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            vm::withdraw(handle);
        }
    }
}
