//! Shared data and shared queues: scoped by VM id, alive as long as the host, untouched by a trap.

use std::collections::{BTreeMap, VecDeque};

use crate::codes::Status;
use crate::spec::VmKey;
use crate::vm_id::VmId;

/// Values with compare-and-swap numbers.
#[derive(Default)]
pub(crate) struct SharedData {
    values: BTreeMap<(String, Vec<u8>), (Vec<u8>, u32)>,
    last_cas: u32,
}

impl SharedData {
    pub(crate) fn get(&self, vm_id: &str, key: &[u8]) -> Option<&(Vec<u8>, u32)> {
        self.values.get(&(vm_id.to_owned(), key.to_vec()))
    }

    /// Stores a value. A `cas` of 0 overwrites; another one must be the number of the present value. A
    /// new key takes any number.
    pub(crate) fn set(&mut self, vm_id: &str, key: &[u8], value: Vec<u8>, cas: u32) -> Result<(), Status> {
        let key = (vm_id.to_owned(), key.to_vec());
        if let Some((_, present)) = self.values.get(&key)
            && cas != 0
            && cas != *present
        {
            return Err(Status::CasMismatch);
        }
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        self.values.insert(key, (value, self.last_cas));
        Ok(())
    }
}

/// Who is told when a queue gets an entry: the last one that registered it.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) vm: VmId,
    pub(crate) key: VmKey,
    pub(crate) root: u32,
}

struct Queue {
    entries: VecDeque<Vec<u8>>,
    listener: Listener,
}

/// First-in-first-out queues; unbounded, as in Envoy.
#[derive(Default)]
pub(crate) struct Queues {
    tokens: BTreeMap<(String, Vec<u8>), u32>,
    queues: BTreeMap<u32, Queue>,
}

impl Queues {
    pub(crate) fn register(&mut self, vm_id: &str, name: &[u8], listener: Listener) -> u32 {
        let next = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX).saturating_add(1);
        let token = *self.tokens.entry((vm_id.to_owned(), name.to_vec())).or_insert(next);
        match self.queues.get_mut(&token) {
            Some(queue) => queue.listener = listener,
            None => {
                self.queues.insert(token, Queue { entries: VecDeque::new(), listener });
            }
        }
        token
    }

    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        self.tokens.get(&(vm_id.to_owned(), name.to_vec())).copied()
    }

    pub(crate) fn enqueue(&mut self, token: u32, entry: Vec<u8>) -> Result<Listener, Status> {
        let queue = self.queues.get_mut(&token).ok_or(Status::NotFound)?;
        queue.entries.push_back(entry);
        Ok(queue.listener.clone())
    }

    pub(crate) fn dequeue(&mut self, token: u32) -> Result<Vec<u8>, Status> {
        let queue = self.queues.get_mut(&token).ok_or(Status::NotFound)?;
        queue.entries.pop_front().ok_or(Status::Empty)
    }

    pub(crate) fn entries(&self, vm_id: &str, name: &[u8]) -> Option<Vec<Vec<u8>>> {
        let token = self.resolve(vm_id, name)?;
        self.queues.get(&token).map(|queue| queue.entries.iter().cloned().collect())
    }
}
