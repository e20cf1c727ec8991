//! The HTTP context: runs the stages over one request.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_core::config::{Mode, PluginConfig, Role};
use portcullis_core::fair::Source;
use portcullis_core::{Permit, Reason, Refusal};
use portcullis_host::{Action, ContextId, Host, HttpContext, LogLevel, MapType};

use crate::cache::Known;
use crate::exchange::{Decision, Exchange};
use crate::forward::{self, names};
use crate::head::Head;
use crate::identify::{Asking, Outcome, Waits};
use crate::introspect::Caller;
use crate::link::Link;
use crate::places;
use crate::platform;
use crate::record::{self, Response};
use crate::refuse::{self, Answer, Form};
use crate::root::Ready;
use crate::stages::Stages;
use crate::vm::{self, Handle, SharedExchange};
use crate::waiting::{self, Awaited, HOLD_MS, Held};

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
        let blind = Answer { form: Form::Problem, request_id: String::new(), metadata: None };
        let Some(ready) = self.ready.clone() else {
            return self.refuse(host, self.refusal(Reason::Misconfigured), &blind, Mode::Enforce);
        };
        let mode = ready.config.mode;
        let Ok(pairs) = host.pairs(REQUEST) else {
            return self.refuse(host, self.refusal(Reason::Internal), &blind, Mode::Enforce);
        };
        let mut head = Head::read(&pairs, &ready.config.api_key_header);
        if !ready.config.tokens.is_usual() {
            places::collect(&pairs, head.path, &ready.config.tokens, &mut head.presented);
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

    fn decide(
        &mut self,
        host: &dyn Host,
        ready: &Ready,
        head: &Head<'_>,
        exchange: &SharedExchange,
        first: bool,
    ) -> Next {
        let (Ok(mut link), Ok(mut exchange)) = (ready.link.try_borrow_mut(), exchange.try_borrow_mut())
        else {
            return self.refusal(Reason::Internal).into();
        };
        if first && self.is_readiness(ready, head) {
            exchange.decision = Decision::Exempt;
            exchange.answered = true;
            self.answered = true;
            return match refuse::readiness(host, link.usable().is_ok() && !link.journal.is_full()) {
                Ok(()) => Next::Answered,
                Err(_) => self.refusal(Reason::Internal).into(),
            };
        }
        if self.stages.audit && link.journal.is_full() {
            return Refusal::new("audit", Reason::AuditBacklog).into();
        }
        if self.is_exempt(ready, head, &exchange) {
            return self.let_exempt_through(host, ready, head, &mut exchange, first);
        }
        if self.stages.decides() {
            match link.usable() {
                Err(Reason::SnapshotMissing) if self.hold_for_snapshot(host, &mut link) => return Next::Hold,
                Err(reason) => return Refusal::new("gateway", reason).into(),
                Ok(()) => {}
            }
        }
        if self.stages.authn
            && let Some(resource) = platform::asked_resource(&ready.config, head)
        {
            exchange.decision = Decision::Exempt;
            exchange.answered = true;
            self.answered = true;
            return match platform::send_metadata(host, &resource, &link.snapshot, &ready.config.tokens) {
                Ok(()) => Next::Answered,
                Err(_) => self.refusal(Reason::Internal).into(),
            };
        }
        match self.run_stages(host, ready, head, &mut link, &mut exchange, first) {
            Ok(()) => Next::Forward,
            Err(Stop::Refuse(refusal)) => refusal.into(),
            Err(Stop::Wait(awaited, until_ms)) => {
                // More than may wait is refused as what did not come.
                let reason = match &awaited {
                    Awaited::Keys(_) => Reason::KeyUnknown,
                    Awaited::Token(_) => Reason::IntrospectionBusy,
                    Awaited::Snapshot => Reason::SnapshotMissing,
                };
                let source = waiting::source(host);
                let held = Held { root: self.root, stream: self.id, source, until_ms, awaited };
                if link.waiting.hold(held) { Next::Hold } else { Refusal::new("authn", reason).into() }
            }
        }
    }

    /// Whether the request is on the closed list, or a plugin of ours before this one said so.
    fn is_exempt(&self, ready: &Ready, head: &Head<'_>, exchange: &Exchange) -> bool {
        exchange.decision == Decision::Exempt
            || (self.stages.authn && platform::is_exempt(&ready.config, head))
    }

    /// Lets a request of the closed list on as it is, without anything that could pass for ours.
    fn let_exempt_through(
        &self,
        host: &dyn Host,
        ready: &Ready,
        head: &Head<'_>,
        exchange: &mut Exchange,
        first: bool,
    ) -> Next {
        exchange.decision = Decision::Exempt;
        match if first { forward::strip(host, head, &ready.config) } else { Ok(()) } {
            Ok(()) => Next::Forward,
            Err(_) => self.refusal(Reason::Internal).into(),
        }
    }

    fn is_readiness(&self, ready: &Ready, head: &Head<'_>) -> bool {
        self.stages.decides()
            && ready.config.role == Role::Edge
            && head.method == b"GET"
            && head.path_only() == ready.config.ready_path.as_bytes()
    }

    /// Lets the request wait for the first snapshot, for a second at most; false when it must not.
    fn hold_for_snapshot(&mut self, host: &dyn Host, link: &mut Link) -> bool {
        link.read_clock(host);
        let until_ms = *self.held_until_ms.get_or_insert(link.now_ms.saturating_add(HOLD_MS));
        link.now_ms < until_ms
            && link.waiting.hold(Held {
                root: self.root,
                stream: self.id,
                source: Source::Unknown,
                until_ms,
                awaited: Awaited::Snapshot,
            })
    }

    fn run_stages(
        &mut self,
        host: &dyn Host,
        ready: &Ready,
        head: &Head<'_>,
        link: &mut Link,
        exchange: &mut Exchange,
        first: bool,
    ) -> Result<(), Stop> {
        let config = &ready.config;
        let name = self.stages.name;
        let internal = |_| Refusal::new(name, Reason::Internal);
        head.check().map_err(|r| self.refusal(r))?;
        // A held request is judged by the time at which it goes on.
        let now_ns = if first && !self.woken { exchange.started_ns } else { host.now().map_err(internal)? };
        let now_s = now_ns / 1_000_000_000;
        if self.stages.decides() {
            self.identify(host, ready, head, link, exchange, now_s)?;
        }
        let permit =
            if self.stages.cluster_status { Some(permit(config, head, link, exchange)?) } else { None };
        if first {
            forward::strip(host, head, config).map_err(internal)?;
        }
        if let Some(known) = exchange.known.clone() {
            self.forward(host, config, head, link, &known, permit.as_ref(), now_s)?;
        }
        if self.stages.decides() {
            exchange.decision = Decision::Allow;
        }
        Ok(())
    }

    /// The identity: from the credential, from the plugin before, or from the forwarded token.
    fn identify(
        &mut self,
        host: &dyn Host,
        ready: &Ready,
        head: &Head<'_>,
        link: &mut Link,
        exchange: &mut Exchange,
        now_s: u64,
    ) -> Result<(), Stop> {
        if exchange.known.is_none() {
            let config = &*ready.config;
            let caller = Caller { root: ready.context, stream: self.id };
            let mut asking = Asking { host, config, caller, waits: &mut self.waits, now_s };
            let outcome = match (&config.role, self.stages.authn) {
                (Role::Sidecar { cluster }, _) => asking.forwarded(head, link, cluster).map(Outcome::Known),
                (Role::Edge, true) => asking.presented(head, link),
                (Role::Edge, false) => Err(Reason::IdentityMissing),
            };
            match outcome.map_err(|reason| Refusal::new("authn", reason))? {
                Outcome::Known(known) => exchange.known = Some(known),
                Outcome::Wait(awaited, until_ms) => return Err(Stop::Wait(awaited, until_ms)),
            }
        }
        let tagged = exchange.known.as_ref().is_some_and(|k| k.identity().is_some());
        if (self.stages.source_type || self.stages.cluster_status) && !tagged {
            return Err(Refusal::new("source-type", Reason::SourceTypeUnknown).into());
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "what each stage forwards depends on all of them")]
    fn forward(
        &self,
        host: &dyn Host,
        config: &PluginConfig,
        head: &Head<'_>,
        link: &mut Link,
        known: &Rc<Known>,
        permit: Option<&Permit>,
        now_s: u64,
    ) -> Result<(), Refusal> {
        let internal = |_| self.refusal(Reason::Internal);
        if self.stages.authn {
            if config.role == Role::Edge {
                forward::strip_credential(host, head, config).map_err(internal)?;
            }
            forward::principal(host, known).map_err(internal)?;
        }
        if let (true, Some(identity)) = (self.stages.source_type, known.identity()) {
            let value = identity.source_type.as_str().as_bytes();
            host.add_header(REQUEST, names::SOURCE_TYPE, value).map_err(internal)?;
        }
        let (Some(permit), Some(identity)) = (permit, known.identity()) else { return Ok(()) };
        host.add_header(REQUEST, names::CLUSTER, permit.cluster().as_str().as_bytes()).map_err(internal)?;
        if config.role == Role::Edge {
            let minter = link.minter().ok_or_else(|| self.refusal(Reason::SnapshotMissing))?;
            let token = known.token(identity, permit.cluster(), &minter, now_s);
            host.add_header(REQUEST, names::IDENTITY, token.as_bytes()).map_err(internal)?;
        }
        Ok(())
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

/// Which cluster is meant, and whether it may be reached.
fn permit(
    config: &PluginConfig,
    head: &Head<'_>,
    link: &Link,
    exchange: &mut Exchange,
) -> Result<Permit, Refusal> {
    let refused = |reason| Refusal::new("cluster-status", reason);
    let cluster = match &config.role {
        Role::Sidecar { cluster } => cluster.clone(),
        Role::Edge => portcullis_cluster_status::select(head.selectors(), &config.domain).map_err(refused)?,
    };
    exchange.cluster = Some(cluster.clone());
    let tenant = exchange.known.as_ref().map(|k| &k.principal().tenant);
    let tenant = tenant.ok_or_else(|| refused(Reason::IdentityMissing))?;
    let record = link.snapshot.cluster(&cluster).map(|entry| (&*entry.tenant, entry.state));
    Permit::decide(cluster, record, tenant).map_err(refused)
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
        let Ok(pairs) = host.pairs(RESPONSE) else { return Action::Continue };
        for (name, value) in &pairs {
            if name == b":status" {
                self.response.status = std::str::from_utf8(value).ok().and_then(|s| s.parse().ok());
            } else if name == b"content-length" {
                self.response.length = std::str::from_utf8(value).ok().and_then(|s| s.parse().ok());
            } else if !answered && portcullis_core::config::is_reserved_header(name) {
                // What an upstream says under our name is not ours.
                if let Err(error) = host.remove_header(RESPONSE, name) {
                    host.log(
                        LogLevel::Error,
                        &format!("a forged response header could not be removed: {error}"),
                    );
                }
            }
        }
        Action::Continue
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
