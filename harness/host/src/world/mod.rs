//! Everything that lies outside the VMs and is shared by them: time, data, queues, metrics, logs, other
//! services. One world belongs to one host; nothing in it is global to the process.

mod calls;
mod clock;
mod faults;
mod limits;
mod logs;
mod metrics;
mod random;
mod shared;
mod trace;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::codes::{LogLevel, Status};
use crate::message::Answer;
use crate::property::PropertyTree;
use crate::upstream::Upstream;

pub use calls::{Call, CallKind, CallState};
pub(crate) use calls::{CallStart, unreachable};
pub(crate) use clock::{CallEnd, Clock, Event};
pub use faults::Fault;
pub(crate) use faults::{Effect, Faults};
pub use limits::Limits;
pub(crate) use limits::Spent;
pub use logs::LogLine;
pub use metrics::{Metric, Metrics};
pub(crate) use random::Random;
pub(crate) use shared::{Listener, Queues, SharedData};
pub(crate) use trace::{Arg, Entry};
pub use trace::{Hostcall, Misuse, Trace};

pub(crate) struct World {
    pub(crate) limits: Limits,
    pub(crate) spent: Spent,
    pub(crate) tracing: bool,
    pub(crate) log_level: LogLevel,
    pub(crate) faults: Faults,
    pub(crate) properties: PropertyTree,
    next_id: AtomicU64,
    state: Mutex<State>,
}

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

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            limits: settings.limits,
            spent: Spent::default(),
            tracing: settings.tracing,
            log_level: settings.log_level,
            faults: Faults::default(),
            properties: settings.properties,
            next_id: AtomicU64::new(1),
            state: Mutex::new(State {
                clock: Clock::new(settings.start_nanos),
                random: Random::new(settings.seed),
                shared_data: SharedData::default(),
                queues: Queues::default(),
                metrics: Metrics::default(),
                logs: Vec::new(),
                trace: Trace::default(),
                misuse: Vec::new(),
                clusters: settings.clusters,
                calls: Vec::new(),
                unknown_clusters: Vec::new(),
                held: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The shared state. A panic of another thread of the same test does not make it unusable.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry into a queue and lets its listener know.
    pub(crate) fn enqueue(&self, vm_id: &str, name: &[u8], entry: &[u8]) -> Result<(), Status> {
        let mut state = self.lock();
        let token = state.queues.resolve(vm_id, name).ok_or(Status::NotFound)?;
        state.enqueue(token, entry.to_vec())
    }
}

/// What a world is made from.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) tracing: bool,
    pub(crate) log_level: LogLevel,
    pub(crate) start_nanos: u64,
    pub(crate) seed: u64,
    pub(crate) clusters: BTreeMap<String, Upstream>,
    pub(crate) properties: PropertyTree,
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
