//! Everything that lies outside the VMs and is shared by them: time, data, queues, metrics, logs, other
//! services. One world belongs to one host; nothing in it is global to the process.

mod call;
mod calls;
mod clock;
mod faults;
mod limits;
mod logs;
mod metrics;
mod random;
mod shared;
mod state;
mod trace;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::codes::{LogLevel, Status};
use crate::property::PropertyTree;
use crate::upstream::Upstream;

pub(crate) use call::CallStart;
pub use call::{Call, CallKind, CallState};
pub(crate) use calls::unreachable;
pub(crate) use clock::{CallEnd, Clock, Event};
pub use faults::Fault;
pub(crate) use faults::{Effect, Faults};
pub use limits::Limits;
pub(crate) use limits::Spent;
pub use logs::LogLine;
pub use metrics::{Metric, Metrics};
pub(crate) use random::Random;
pub(crate) use shared::{Listener, Queues, SharedData};
pub(crate) use state::State;
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
