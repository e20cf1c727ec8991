//! Requests that were let on and are still open, and when they are to be decided again.
//!
//! Most requests are over before anybody looks: they cost a slot that is taken and given back. What is still
//! open after [`YOUNG_MS`] is looked at once, and from then on stands in an index by its [`Ground`]s and by
//! the time when it is to be looked at again. So a change of policy finds the streams that it concerns.
//! Only a resync, which may concern anybody, walks through all of them.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher;

use portcullis_model::state::{ChangeLog, Ground};

use crate::port::StreamKey;

/// How long a request is not looked at. A revocation in this time is seen at its end.
const YOUNG_MS: u64 = 500;

/// A plugin that has not ticked for so long is gone, in milliseconds; another looks after its streams.
const GONE_MS: u64 = 1_000;

/// Names a request that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenId(usize);

/// What an open stream was let through by.
#[derive(Debug, Default)]
pub struct Grounds {
    /// The parts of policy that said so.
    pub policy: Vec<Ground>,
    /// When it has to be looked at again in any case, by the monotonic clock in milliseconds; none for never.
    pub until_ms: Option<u64>,
}

impl Grounds {
    /// Has it looked at again at this time, or earlier if somebody else wants that.
    pub fn look_at(&mut self, at_ms: u64) {
        self.until_ms = Some(self.until_ms.map_or(at_ms, |until| until.min(at_ms)));
    }
}

#[derive(Debug)]
struct Slot {
    /// Tells this stream from another that had the slot before.
    serial: u64,
    plugin: u64,
    stream: StreamKey,
    /// Its grounds as they stand in the index; none while it is young.
    grounds: Box<[u64]>,
    /// When it is looked at, as it stands in the index.
    until_ms: Option<u64>,
}

/// The open requests of a worker.
#[derive(Debug, Default)]
pub struct OpenStreams {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    serial: u64,
    /// Since when, which slot, and whose: in the order of time. Most of them are over when their turn comes.
    young: VecDeque<(u64, usize, u64)>,
    by_ground: BTreeSet<(u64, usize)>,
    by_time: BTreeSet<(u64, usize)>,
    due: BTreeSet<usize>,
    hasher: RandomState,
    /// How far the changes of the snapshot were seen.
    seen: u64,
    ticked_ms: BTreeMap<u64, u64>,
}

impl OpenStreams {
    /// A request was let on. `lasts`: it is known to last, so it is looked at with the next tick.
    pub fn begin(&mut self, plugin: u64, stream: StreamKey, lasts: bool, now_ms: u64) -> OpenId {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let slot = Slot { serial, plugin, stream, grounds: Box::default(), until_ms: None };
        let index = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        if lasts {
            self.due.insert(index);
        } else {
            self.young.push_back((now_ms, index, serial));
        }
        OpenId(index)
    }

    /// It was looked at, and goes on by these grounds.
    pub fn keep(&mut self, id: OpenId, grounds: &Grounds) {
        self.take_out(id);
        let hashes: BTreeSet<u64> =
            grounds.policy.iter().map(|ground| self.hasher.hash_one(ground)).collect();
        let Some(Some(slot)) = self.slots.get_mut(id.0) else { return };
        self.by_ground.extend(hashes.iter().map(|hash| (*hash, id.0)));
        self.by_time.extend(grounds.until_ms.map(|until| (until, id.0)));
        slot.grounds = hashes.into_iter().collect();
        slot.until_ms = grounds.until_ms;
    }

    /// It cannot be judged now: its grounds stay as they are, and it is looked at again at this time.
    pub fn postpone(&mut self, id: OpenId, at_ms: u64) {
        let Some(Some(slot)) = self.slots.get_mut(id.0) else { return };
        if let Some(until) = slot.until_ms.replace(at_ms) {
            self.by_time.remove(&(until, id.0));
        }
        self.by_time.insert((at_ms, id.0));
    }

    /// It is over.
    pub fn end(&mut self, id: OpenId) {
        self.take_out(id);
        if self.slots.get_mut(id.0).and_then(Option::take).is_some() {
            self.due.remove(&id.0);
            self.free.push(id.0);
        }
    }

    /// Takes a stream out of the index.
    fn take_out(&mut self, id: OpenId) {
        let Some(Some(slot)) = self.slots.get(id.0) else { return };
        for hash in &slot.grounds {
            self.by_ground.remove(&(*hash, id.0));
        }
        if let Some(until) = slot.until_ms {
            self.by_time.remove(&(until, id.0));
        }
    }

    /// Finds the streams that have to be looked at: because of what changed, because their time has come,
    /// because they are not young any more.
    pub fn tick(&mut self, changes: &ChangeLog, now_ms: u64) {
        match changes.since(self.seen) {
            Some(grounds) => {
                for ground in grounds {
                    let hash = self.hasher.hash_one(ground);
                    let concerned = self.by_ground.range((hash, 0)..=(hash, usize::MAX));
                    self.due.extend(concerned.map(|(_, index)| *index));
                }
            }
            None => {
                let slots = self.slots.iter().enumerate();
                self.due.extend(slots.filter(|(_, slot)| slot.is_some()).map(|(index, _)| index));
            }
        }
        self.seen = changes.end();
        while let Some((at_ms, index)) = self.by_time.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.by_time.remove(&(at_ms, index));
            self.due.insert(index);
        }
        while let Some((since_ms, index, serial)) = self.young.front().copied() {
            if now_ms.saturating_sub(since_ms) < YOUNG_MS {
                break;
            }
            self.young.pop_front();
            let is_open = |slot: &Slot| slot.serial == serial && slot.grounds.is_empty();
            if self.slots.get(index).and_then(Option::as_ref).is_some_and(is_open) {
                self.due.insert(index);
            }
        }
    }

    /// Takes out streams that have to be looked at, so many at most: those of this plugin, and of plugins that are gone.
    pub fn take_due(&mut self, plugin: u64, now_ms: u64, most: usize) -> Vec<StreamKey> {
        self.ticked_ms.insert(plugin, now_ms);
        if self.due.is_empty() {
            return Vec::new();
        }
        self.ticked_ms.retain(|_, at_ms| now_ms.saturating_sub(*at_ms) < GONE_MS);
        let ticked_ms = &self.ticked_ms;
        let mine = |slot: &&Slot| slot.plugin == plugin || !ticked_ms.contains_key(&slot.plugin);
        let found = |index: &usize| {
            let slot = self.slots.get(*index).and_then(Option::as_ref).filter(mine)?;
            Some((*index, slot.stream))
        };
        let taken: Vec<(usize, StreamKey)> = self.due.iter().filter_map(found).take(most).collect();
        for (index, _) in &taken {
            self.due.remove(index);
        }
        taken.into_iter().map(|(_, stream)| stream).collect()
    }

    /// How many requests are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
