//! What is decided about a request: the closed list first, then stage by stage.

use std::rc::Rc;

use portcullis_host::Host;
use portcullis_model::config::{PluginConfig, Role};
use portcullis_model::fair::Source;
use portcullis_model::{Permit, Reason, Refusal};

use super::{Next, REQUEST, Request, Stop};
use crate::cache::Known;
use crate::exchange::{Decision, Exchange};
use crate::forward::{self, names};
use crate::head::Head;
use crate::identify::{Asking, Outcome};
use crate::introspect::Caller;
use crate::link::Link;
use crate::platform;
use crate::refuse;
use crate::root::Ready;
use crate::vm::SharedExchange;
use crate::waiting::{self, Awaited, HOLD_MS, Held};

impl Request {
    /// Decides by the answers of the stages, in their order.
    pub(super) fn decide(
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
        if self.stages.decides() && head.is_never_passed_on() {
            return self.refusal(Reason::MethodRefused).into();
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
