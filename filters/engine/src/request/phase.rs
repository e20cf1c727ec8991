//! How far a request has come in one plugin: the states that the flow beside this file takes it through.
//!
//! A request is [`Phase::Undecided`] until every stage has let it on, and then [`Phase::LetOn`]; or it is
//! [`Phase::Answered`] here. One that has to wait stays undecided and is decided anew when it is woken.

use portcullis_model::Refusal;

use crate::exchange::registry::{Handle, SharedExchange};
use crate::exchange::request_state::Response;
use crate::open::OpenId;
use crate::plugin::Instance;
use crate::port::StreamKey;
use crate::reply::{Form, Manner, OwnedReply};
use crate::waiting::Waited;

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
pub(super) struct Undecided {
    /// True once it has waited.
    pub(super) woken: bool,
    /// For what.
    pub(super) waited: Waited,
}

/// How far a request has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its headers came, or will come.
    Undecided(Undecided),
    /// Every stage let it on; these still want its body.
    LetOn(Vec<BodyWish>),
    /// This plugin answered it.
    Answered,
}

/// What a look at the headers led to.
pub(super) enum Next {
    LetOn(Vec<BodyWish>, Option<Open>),
    Hold(Undecided),
    Refuse(Refusal),
    Answer(Box<OwnedReply>),
}

impl From<Refusal> for Next {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// A stage that wants to see the body, and up to how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodyWish {
    /// Its place among those that decide.
    pub(super) stage: usize,
    pub(super) most: usize,
}

/// What has come of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Bytes that the proxy holds.
    pub(super) length: usize,
    /// Nothing more follows.
    pub(super) ended: bool,
    /// The head went on before.
    pub(super) behind_head: bool,
}

impl Arrived {
    /// No body follows the head.
    pub(super) fn of_none() -> Self {
        Self { length: 0, ended: true, behind_head: false }
    }
}

/// A request that was let on and is still open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) id: OpenId,
    /// When its beginning is recorded, by the monotonic clock; none once that has happened.
    pub(super) record_at_ms: Option<u64>,
    /// How its client understands a refusal: its headers cannot be read any more.
    pub(super) form: Form,
}

/// A request in one plugin.
pub struct Request {
    pub(super) key: StreamKey,
    /// The root id.
    pub(super) name: &'static str,
    /// `None` when the plugin's configuration is bad.
    pub(super) instance: Option<Instance>,
    pub(super) exchange: Option<SharedExchange>,
    /// The handle, where this plugin made it.
    pub(super) handle: Option<Handle>,
    pub(super) phase: Phase,
    /// What has come of the request's body.
    pub(super) arrived: Arrived,
    /// How a refusal by the body is told; kept where a stage wants the body.
    pub(super) manner: Option<Manner>,
    pub(super) response: Response,
    /// What is known of it while it is open.
    pub(super) open: Option<Open>,
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
            arrived: Arrived::default(),
            manner: None,
            response: Response::default(),
            open: None,
        }
    }
}
