//! What is decided about a request: the closed list first, then stage by stage.

use portcullis_model::config::{PluginConfig, Role};
use portcullis_model::fair::ClientNetwork;
use portcullis_model::{Decision, Reason, Refusal};

use super::phase::{BodyWish, Next, Open, Request, Undecided};
use crate::edge::platform_host::{CLIENT_HEADER, PLATFORM_HEADER};
use crate::exchange::registry::SharedExchange;
use crate::exchange::request_state::RequestState;
use crate::head::Head;
use crate::head::headers::Headers;
use crate::link::Link;
use crate::plugin::{Instance, Plugin};
use crate::port::{PortResult, Stream};
use crate::reply::{Form, OwnedReply};
use crate::source::Policy;
use crate::stage::{Admission, Arrival, Context, Flow, Ticket, Unforwarded};
use crate::waiting::{self, Awaited, HOLD_MS, Held};

impl Request {
    /// Decides by the answers of the stages, in their order.
    pub(super) fn decide(
        &self,
        stream: &dyn Stream,
        instance: &Instance,
        (head, headers): (&Head<'_>, &Headers),
        exchange: &SharedExchange,
        first: bool,
        mut undecided: Undecided,
    ) -> Next {
        let (plugin, worker) = (&*instance.plugin, &*instance.worker);
        let Ok(mut exchange) = exchange.try_borrow_mut() else {
            return self.refusal(Reason::Internal).into();
        };
        let policy = worker.source.policy.read();
        let mut link = worker.link.lock();
        let is_full = || worker.courier.lock().journal.is_full();
        if first && is_readiness(plugin, head) {
            let usable = policy.usable(link.now_ms, &worker.source.config).is_ok();
            return answer(&mut exchange, Box::new(OwnedReply::readiness(usable && !is_full())));
        }
        let backlog = plugin.records && is_full();
        if let Some(next) = self.without_policy(stream, plugin, head, &mut exchange, first, backlog) {
            return next;
        }
        match self.has_policy(stream, instance, &policy, &mut link, &mut undecided) {
            Ok(true) => {}
            Ok(false) => return Next::Hold(undecided),
            Err(refusal) => return refusal.into(),
        }
        if let Err(reason) = head.check() {
            return self.refusal(reason).into();
        }
        // A held request is judged by the time at which it goes on.
        let now_ns = if first && !undecided.woken { Ok(exchange.started_ns) } else { stream.wall_clock_ns() };
        let Ok(now_ns) = now_ns else { return self.refusal(Reason::Internal).into() };
        let Undecided { waited, .. } = &mut undecided;
        let mut context = Context {
            stream,
            config: &plugin.config,
            head,
            headers,
            snapshot: &policy.snapshot,
            link: &mut link,
            exchange: &mut exchange,
            waited,
            now_s: now_ns / 1_000_000_000,
        };
        match self.run_stages(plugin, &mut context, first) {
            Ok(Ran::Through(bodies)) => self.let_through(instance, &mut context, bodies),
            Ok(Ran::Answered(reply)) => answer(&mut exchange, reply),
            Ok(Ran::Waits(stage, ticket)) => {
                self.wait(stream, instance, &mut link, (stage, ticket), undecided)
            }
            Err(refusal) => refusal.into(),
        }
    }

    /// What is said of a request before policy is looked at; nothing where stages have to decide.
    fn without_policy(
        &self,
        stream: &dyn Stream,
        plugin: &Plugin,
        head: &Head<'_>,
        exchange: &mut RequestState,
        first: bool,
        backlog: bool,
    ) -> Option<Next> {
        let mut arrival = Arrival { config: &plugin.config, head, backlog, exchange, listed: None };
        match self.admit(plugin, &mut arrival) {
            Admission::Refuse(refusal) => Some(refusal.into()),
            Admission::Answer(reply) => Some(answer(exchange, reply)),
            Admission::Exempt => Some(self.exempt(stream, head, &plugin.config, exchange, first)),
            Admission::Platform(place) => {
                Some(self.to_platform(stream, (head, place), &plugin.config, exchange, first))
            }
            Admission::Next => None,
        }
    }

    /// Whether there is policy to decide by; false where the request waits for the first.
    fn has_policy(
        &self,
        stream: &dyn Stream,
        instance: &Instance,
        policy: &Policy,
        link: &mut Link,
        undecided: &mut Undecided,
    ) -> Result<bool, Refusal> {
        if !instance.plugin.decides {
            return Ok(true);
        }
        match policy.usable(link.now_ms, &instance.worker.source.config) {
            Ok(()) => Ok(true),
            Err(Reason::SnapshotMissing) if self.hold_for_snapshot(stream, instance, link, undecided) => {
                Ok(false)
            }
            Err(reason) => Err(Refusal::new("gateway", reason)),
        }
    }

    /// Lets a request on that all stages have let on.
    fn let_through(&self, instance: &Instance, context: &mut Context<'_>, bodies: Vec<BodyWish>) -> Next {
        match self.watch(instance, context) {
            Ok(open) => Next::LetOn(bodies, open),
            Err(_) => self.refusal(Reason::Internal).into(),
        }
    }

    /// Takes note of a request that was let on, so that it is looked at again while it is open.
    fn watch(&self, instance: &Instance, context: &mut Context<'_>) -> PortResult<Option<Open>> {
        let (plugin, link) = (&instance.plugin, &mut *context.link);
        if context.exchange.decision != Decision::Allow || !(plugin.decides || plugin.records) {
            return Ok(None);
        }
        context.stream.expect_wake()?;
        let lasts = context.head.lasts();
        let id = link.open.begin(instance.number, self.key, lasts, link.now_ms);
        let after_ms = if lasts { 0 } else { plugin.config.streams.record_after_ms.into() };
        let form = Form::of(context.head);
        Ok(Some(Open { id, record_at_ms: Some(link.now_ms.saturating_add(after_ms)), form }))
    }

    /// What is said before policy is looked at.
    fn admit(&self, plugin: &Plugin, arrival: &mut Arrival<'_>) -> Admission {
        // An earlier plugin of ours may have said so.
        let earlier = matches!(arrival.exchange.decision, Decision::Exempt | Decision::Platform);
        let mut passes = earlier.then_some(Admission::Exempt);
        for stage in &plugin.stages.admitting {
            match stage.admit(arrival) {
                Admission::Next => {}
                Admission::Exempt | Admission::Platform(_) if earlier => {}
                decided @ (Admission::Exempt | Admission::Platform(_)) => passes = Some(decided),
                decided => return decided,
            }
        }
        if plugin.decides && arrival.head.is_never_passed_on() {
            return Admission::Refuse(self.refusal(Reason::MethodRefused));
        }
        passes.unwrap_or(Admission::Next)
    }

    /// Lets a request of the closed list on as it is, without anything that could pass for ours.
    fn exempt(
        &self,
        stream: &dyn Stream,
        head: &Head<'_>,
        config: &PluginConfig,
        exchange: &mut RequestState,
        first: bool,
    ) -> Next {
        if exchange.decision != Decision::Platform {
            exchange.decision = Decision::Exempt;
        }
        match if first { strip_reserved(stream, head, config) } else { Ok(()) } {
            Ok(()) => Next::LetOn(Vec::new(), None),
            Err(_) => self.refusal(Reason::Internal).into(),
        }
    }

    /// Lets a request on to a host of the platform: as it is, but for what says which host that is.
    fn to_platform(
        &self,
        stream: &dyn Stream,
        (head, place): (&Head<'_>, usize),
        config: &PluginConfig,
        exchange: &mut RequestState,
        first: bool,
    ) -> Next {
        exchange.decision = Decision::Platform;
        let Some(host) = config.platform_hosts.get(place) else {
            return self.refusal(Reason::Internal).into();
        };
        let next = self.exempt(stream, head, config, exchange, first);
        let placed = stream.add_request_header(PLATFORM_HEADER, host.name.as_bytes());
        let told = |address: Vec<u8>| stream.add_request_header(CLIENT_HEADER, &address);
        match placed.and_then(|()| stream.client_address().map_or(Ok(()), told)) {
            Ok(()) => next,
            Err(_) => self.refusal(Reason::Internal).into(),
        }
    }

    /// Lets the request wait for the first snapshot, for a second at most; false when it must not.
    fn hold_for_snapshot(
        &self,
        stream: &dyn Stream,
        instance: &Instance,
        link: &mut Link,
        undecided: &mut Undecided,
    ) -> bool {
        link.read_clock(stream);
        let until_ms = *undecided.waited.snapshot_until_ms.get_or_insert(link.now_ms.saturating_add(HOLD_MS));
        link.now_ms < until_ms
            && stream.expect_wake().is_ok()
            && link.waiting.hold(Held {
                plugin: instance.number,
                stream: self.key,
                source: ClientNetwork::Unknown,
                until_ms,
                awaited: Awaited::Snapshot,
            })
    }

    /// Lets the request wait for what a stage asked for; more than may wait is refused as what did not come.
    fn wait(
        &self,
        stream: &dyn Stream,
        instance: &Instance,
        link: &mut Link,
        (stage, ticket): (&'static str, Ticket),
        undecided: Undecided,
    ) -> Next {
        let reason = ticket.awaited.refused_as();
        let held = Held {
            plugin: instance.number,
            stream: self.key,
            source: waiting::source(stream),
            until_ms: ticket.until_ms,
            awaited: ticket.awaited,
        };
        if stream.expect_wake().is_ok() && link.waiting.hold(held) {
            return Next::Hold(undecided);
        }
        Refusal::new(stage, reason).into()
    }

    fn run_stages(&self, plugin: &Plugin, context: &mut Context<'_>, first: bool) -> Result<Ran, Refusal> {
        let mut bodies = Vec::new();
        for (index, stage) in plugin.stages.deciding.iter().enumerate() {
            match stage.on_request_headers(context) {
                Flow::Next => {}
                // Who did not say so would be asked only after the head went on.
                Flow::NextWithBody(_) if !stage.reads_body() => return Err(self.refusal(Reason::Internal)),
                Flow::NextWithBody(most) => bodies.push(BodyWish { stage: index, most }),
                Flow::Answer(reply) => return Ok(Ran::Answered(reply)),
                Flow::Refuse(refusal) => return Err(refusal),
                Flow::Wait(ticket) => return Ok(Ran::Waits(stage.name(), ticket)),
            }
        }
        let unforwarded = |Unforwarded(reason)| self.refusal(reason);
        if first {
            strip_reserved(context.stream, context.head, context.config)
                .map_err(|error| unforwarded(error.into()))?;
        }
        for stage in &plugin.stages.forwarding {
            stage.forward(context).map_err(unforwarded)?;
        }
        if plugin.decides {
            context.exchange.decision = Decision::Allow;
        }
        Ok(Ran::Through(bodies))
    }
}

/// How far the stages came.
enum Ran {
    Through(Vec<BodyWish>),
    Answered(Box<OwnedReply>),
    /// The name of the stage that has to wait, and for what.
    Waits(&'static str, Ticket),
}

/// Answers a request of the closed list.
fn answer(exchange: &mut RequestState, reply: Box<OwnedReply>) -> Next {
    exchange.decision = Decision::Exempt;
    exchange.answered = true;
    Next::Answer(reply)
}

fn is_readiness(plugin: &Plugin, head: &Head<'_>) -> bool {
    plugin.decides
        && plugin.config.role == Role::Edge
        && head.method == b"GET"
        && head.path_only() == plugin.config.ready_path.as_bytes()
}

/// Removes reserved headers that came in. A sidecar keeps the identity token.
fn strip_reserved(stream: &dyn Stream, head: &Head<'_>, config: &PluginConfig) -> PortResult<()> {
    let keep = match config.role {
        Role::Edge => None,
        Role::Sidecar { .. } => Some(portcullis_identity::HEADER.as_bytes()),
    };
    head.reserved
        .iter()
        .filter(|name| Some(**name) != keep)
        .try_for_each(|name| stream.remove_request_header(name))
}
