//! Virtual time and what is due when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::headers::HeaderMap;
use crate::message::Answer;
use crate::spec::VmKey;
use crate::vm_id::VmId;

/// Something that happens at a moment of virtual time.
#[derive(Debug)]
pub(crate) enum Event {
    Tick { vm: VmId, instance: u64, root: u32, generation: u64 },
    CallEnd { vm: VmId, instance: u64, root: u32, token: u32, end: CallEnd },
    QueueReady { vm: VmId, key: VmKey, root: u32, token: u32 },
    NativeTick { plugin: usize },
    NativeWake { plugin: usize, event: u64 },
    NativeStreamWake { stream: u64, slot: usize, event: u64 },
    UpstreamAnswer { stream: u64, answer: Box<Answer> },
}

/// How a call ends in the module.
#[derive(Debug)]
pub(crate) enum CallEnd {
    Http { id: u64, headers: HeaderMap, body: Vec<u8>, trailers: Option<HeaderMap> },
    HttpReset { id: u64 },
    Grpc { id: u64, message: Option<Vec<u8>>, status: u32, reason: String },
}

impl CallEnd {
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Http { id, .. } | Self::HttpReset { id } | Self::Grpc { id, .. } => *id,
        }
    }
}

/// The host's clock. It moves only when the test says so.
pub(crate) struct Clock {
    start: u64,
    elapsed: Duration,
    sequence: u64,
    agenda: BTreeMap<(Duration, u64), Event>,
    /// Period and generation of each root context's timer, by VM instance.
    timers: BTreeMap<(u64, u32), (Duration, u64)>,
}

impl Clock {
    pub(crate) fn new(start: u64) -> Self {
        Self { start, elapsed: Duration::ZERO, sequence: 0, agenda: BTreeMap::new(), timers: BTreeMap::new() }
    }

    /// Time since the host started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The wall clock in nanoseconds since 1970.
    pub(crate) fn unix_nanos(&self) -> u64 {
        self.start.saturating_add(self.monotonic_nanos())
    }

    /// The monotonic clock in nanoseconds. It starts above zero, as a machine's does.
    pub(crate) fn monotonic_nanos(&self) -> u64 {
        const SINCE_BOOT: u64 = 1_000_000_000;
        SINCE_BOOT.saturating_add(u64::try_from(self.elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn set_unix_nanos(&mut self, now: u64) {
        self.start = now.saturating_sub(self.monotonic_nanos());
    }

    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.agenda.insert((self.elapsed.saturating_add(after), self.sequence), event);
    }

    /// The next event that is due by `until`, with the clock moved to its moment.
    pub(crate) fn next(&mut self, until: Duration) -> Option<Event> {
        let first = self.agenda.first_entry()?;
        let at = first.key().0;
        if at > until {
            return None;
        }
        self.elapsed = self.elapsed.max(at);
        Some(first.remove())
    }

    pub(crate) fn move_to(&mut self, elapsed: Duration) {
        self.elapsed = self.elapsed.max(elapsed);
    }

    /// Starts, changes or (with zero) stops the timer of a root context.
    pub(crate) fn set_timer(&mut self, vm: VmId, instance: u64, root: u32, period: Duration) {
        let timer = self.timers.entry((instance, root)).or_default();
        timer.0 = period;
        timer.1 += 1;
        let generation = timer.1;
        if !period.is_zero() {
            self.schedule(period, Event::Tick { vm, instance, root, generation });
        }
    }

    /// Whether a tick still belongs to the timer as it is set now.
    pub(crate) fn is_current(&self, instance: u64, root: u32, generation: u64) -> bool {
        self.timers.get(&(instance, root)).is_some_and(|timer| timer.1 == generation)
    }

    /// Arms the timer again after its tick ran, unless the tick itself changed it.
    pub(crate) fn rearm(&mut self, vm: VmId, instance: u64, root: u32, generation: u64) {
        let Some(&(period, current)) = self.timers.get(&(instance, root)) else { return };
        if current == generation && !period.is_zero() {
            self.schedule(period, Event::Tick { vm, instance, root, generation });
        }
    }
}
