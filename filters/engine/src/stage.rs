//! What a stage is: a rule and its flow, called at the steps of a request.
//!
//! A root id is a named list of stages. Stages decide one after the other; once all of them have let the
//! request on, each says what goes upstream. So a request that is refused was not changed by anybody.

use portcullis_model::config::PluginConfig;
use portcullis_model::state::{Ground, SnapshotState};
use portcullis_model::{Reason, Refusal};

use crate::edge::closed_list::{Listed, listed};
use crate::exchange::answer::Answer;
use crate::exchange::request_state::{RequestState, Response};
use crate::head::Head;
use crate::head::headers::Headers;
use crate::link::Link;
use crate::open::Grounds;
use crate::port::{PortResult, Stream};
use crate::reply::OwnedReply;
use crate::waiting::{Awaited, Waited};
use crate::worker::Worker;

/// What a stage says before anything is decided by policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: the stages decide.
    Next,
    /// The request is on the closed list: it is let through as it is, without an identity.
    Exempt,
    /// The request is for a host of the platform itself, of this place among those that the configuration has.
    Platform(usize),
    /// Answered here, whatever policy says: nobody has to be known for it.
    Answer(Box<OwnedReply>),
    /// It is refused.
    Refuse(Refusal),
}

/// How a request goes on after a stage.
#[derive(Debug)]
pub enum Flow {
    /// To the next stage.
    Next,
    /// To the next stage, and back to this one when the body was read, up to so many bytes. One that is
    /// longer is refused.
    NextWithBody(usize),
    /// Answered here; no upstream sees it.
    Answer(Box<OwnedReply>),
    /// Refused.
    Refuse(Refusal),
    /// It waits; the stage is called again when what it waits for came, or when the time is over.
    Wait(Ticket),
}

/// What a request waits for, and for how long.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// For what.
    pub awaited: Awaited,
    /// When it is decided in any case, by the monotonic clock in milliseconds.
    pub until_ms: u64,
}

/// What a stage sees before anything is decided.
pub struct Arrival<'a> {
    /// The plugin's configuration.
    pub config: &'a PluginConfig,
    /// The request's head.
    pub head: &'a Head<'a>,
    /// True when no more audit records may wait.
    pub backlog: bool,
    /// What was decided so far.
    pub exchange: &'a mut RequestState,
    /// What of the closed list the request is for, once a stage has asked.
    pub(crate) listed: Option<Option<Listed>>,
}

impl Arrival<'_> {
    /// What of the closed list the request is for; a preflight is for what it asks about.
    pub fn listed(&mut self) -> Option<Listed> {
        let (config, head) = (self.config, self.head);
        let method = head.asked_method.filter(|_| head.is_preflight()).unwrap_or(head.method);
        *self.listed.get_or_insert_with(|| listed(config, head, method))
    }
}

/// What a stage decides by.
pub struct Context<'a> {
    /// The request, as the proxy shows it.
    pub stream: &'a dyn Stream,
    /// The plugin's configuration.
    pub config: &'a PluginConfig,
    /// The request's head.
    pub head: &'a Head<'a>,
    /// All of its headers.
    pub headers: &'a Headers,
    /// Policy.
    pub snapshot: &'a SnapshotState,
    /// What the worker keeps.
    pub link: &'a mut Link,
    /// What was decided so far.
    pub exchange: &'a mut RequestState,
    /// What the request has waited for.
    pub waited: &'a mut Waited,
    /// Wall clock, seconds since the Unix epoch.
    pub now_s: u64,
}

/// What a stage looks at an open stream by.
pub struct Again<'a> {
    /// The request, as the proxy shows it.
    pub stream: &'a dyn Stream,
    /// The plugin's configuration.
    pub config: &'a PluginConfig,
    /// Policy as it is now.
    pub snapshot: &'a SnapshotState,
    /// What the worker keeps.
    pub link: &'a mut Link,
    /// What was decided.
    pub exchange: &'a mut RequestState,
    /// What the stream goes on by; each stage adds its own.
    pub grounds: Grounds,
    /// Wall clock, milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Again<'_> {
    /// Wall clock, seconds since the Unix epoch.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.wall_ms / 1_000
    }

    /// The stream stands on a part of policy.
    pub fn stands_on(&mut self, ground: Ground) {
        self.grounds.policy.push(ground);
    }

    /// The stream is looked at again at a time of the wall clock, in seconds.
    pub fn look_at(&mut self, at_s: u64) {
        if at_s < u64::MAX {
            let wait_ms = at_s.saturating_mul(1_000).saturating_sub(self.wall_ms);
            self.grounds.look_at(self.link.now_ms.saturating_add(wait_ms));
        }
    }
}

/// What a stage sees of a request that has ended, or that is recorded because it lasts.
pub struct Ending<'a> {
    /// The request, as the proxy shows it.
    pub stream: &'a dyn Stream,
    /// The worker.
    pub worker: &'a Worker,
    /// What was decided.
    pub exchange: &'a RequestState,
    /// What was seen of the response.
    pub response: Response,
    /// What every audit record of this plugin says, encoded.
    pub hop: &'a [u8],
}

/// One stage.
pub trait Stage: Send + Sync {
    /// Its name in refusals, audit records and metrics.
    fn name(&self) -> &'static str;

    /// Whether it decides by policy, and wants [`Stage::on_request_headers`]. A plugin none of whose stages does
    /// needs no snapshot.
    fn decides(&self) -> bool {
        true
    }

    /// Whether it wants [`Stage::admit`] with this configuration. Say so where it does nothing: every request pays
    /// for the call.
    fn admits(&self, _config: &PluginConfig) -> bool {
        true
    }

    /// Whether it wants [`Stage::forward`].
    fn forwards(&self) -> bool {
        true
    }

    /// Whether it wants [`Stage::on_open`] and [`Stage::on_end`].
    fn records(&self) -> bool {
        false
    }

    /// Whether it may answer [`Flow::NextWithBody`]. One that did not say so is refused as a fault.
    fn reads_body(&self) -> bool {
        false
    }

    /// A request comes: before policy is looked at.
    fn admit(&self, _arrival: &mut Arrival<'_>) -> Admission {
        Admission::Next
    }

    /// The request's headers. They are only read here: see [`Stage::forward`].
    fn on_request_headers(&self, _context: &mut Context<'_>) -> Flow {
        Flow::Next
    }

    /// The whole body, where [`Flow::NextWithBody`] asked for it; empty where there is none. What `forward`
    /// added is in the headers already. A proxy that cannot show a body while it holds the head has let the
    /// head go on; no byte of the body has.
    ///
    /// # Errors
    /// The refusal of the request.
    fn on_request_body(&self, _exchange: &mut RequestState, _body: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Says what goes upstream, once every stage has let the request on.
    ///
    /// # Errors
    /// When the proxy fails; the request is refused then.
    fn forward(&self, _context: &mut Context<'_>) -> Result<(), Unforwarded> {
        Ok(())
    }

    /// The answer to a request of which a stage [kept](RequestState::kept) something: every answer there is, by the
    /// upstream, by the proxy, by a plugin of ours. Requests of which nothing is kept pay nothing for it.
    ///
    /// # Errors
    /// When the proxy fails; the response is withheld then.
    fn on_response_headers(&self, _answer: &mut Answer<'_>) -> PortResult<()> {
        Ok(())
    }

    /// A request that was let on is still open, and is looked at again: when it has lasted for a moment, when
    /// something changed that it stands on, when its time has come. A stage says here on what it stands.
    ///
    /// # Errors
    /// Why it may not go on.
    fn look_again(&self, _again: &mut Again<'_>) -> Result<(), Reason> {
        Ok(())
    }

    /// The reason by which this stage refuses a request that was let on and that nobody answered.
    fn reason_of_no_answer(&self) -> Option<Reason> {
        None
    }

    /// A request that was let on lasts: its beginning is told before its end comes.
    fn on_open(&self, _ending: &Ending<'_>) {}

    /// The request has ended, however it did.
    fn on_end(&self, _ending: &Ending<'_>) {}
}

/// Why a request could not be forwarded after it was let on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unforwarded(pub Reason);

impl From<crate::port::PortError> for Unforwarded {
    fn from(_: crate::port::PortError) -> Self {
        Self(Reason::Internal)
    }
}

impl Context<'_> {
    /// Adds a header to the request.
    ///
    /// # Errors
    /// When the proxy fails; the request is refused then.
    pub fn add(&self, name: &str, value: &str) -> PortResult<()> {
        self.stream.add_request_header(name, value.as_bytes())
    }
}

/// A root id and the stages that it stands for.
pub struct Root {
    /// The root id: the name by which a plugin's configuration picks it.
    pub id: &'static str,
    /// True when the plugin runs alone, so that no other plugin of this module shares the request.
    pub whole: bool,
    /// Makes its stages, in their order.
    pub stages: fn() -> Vec<Box<dyn Stage>>,
}
