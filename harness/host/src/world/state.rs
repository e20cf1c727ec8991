//! What changes in a world.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{Call, CallStart};
use super::clock::{Clock, Event};
use super::logs::LogLine;
use super::metrics::Metrics;
use super::random::Random;
use super::shared::{Listener, Queues, SharedData};
use super::trace::{Misuse, Trace};
use crate::codes::Status;
use crate::message::Answer;
use crate::upstream::Upstream;

pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) shared_data: SharedData,
    pub(crate) queues: Queues,
    pub(crate) metrics: Metrics,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) trace: Trace,
    pub(crate) misuse: Vec<Misuse>,
    pub(crate) clusters: BTreeMap<String, Upstream>,
    pub(crate) calls: Vec<Call>,
    /// Clusters that plugins called and that there are not.
    pub(crate) unknown_clusters: Vec<String>,
    /// Calls that wait for the test to answer them.
    pub(crate) held: BTreeMap<u64, CallStart>,
}

impl State {
    pub(crate) fn enqueue(&mut self, token: u32, entry: Vec<u8>) -> Result<(), Status> {
        let Listener { vm, key, root } = self.queues.enqueue(token, entry)?;
        self.clock.schedule(Duration::ZERO, Event::QueueReady { vm, key, root, token });
        Ok(())
    }

    /// Ends a call that waits for the test; `false` if there is no such call.
    pub(crate) fn answer_held(&mut self, id: u64, answer: Answer) -> bool {
        let Some(call) = self.held.remove(&id) else { return false };
        self.schedule_answer(call, answer);
        true
    }
}
