//! Contexts of one kind by id.
//!
//! Every callback of a request looks its context up, so this is a table made for that: the proxy
//! counts ids up, so they need no hash to spread them, and nobody can choose colliding ones.

use std::cell::RefCell;

use crate::calls::Proxy;
use crate::types::ContextId;

/// Slots of a table at first.
const FIRST: usize = 64;

/// Contexts by id. A slot is empty while its context runs.
pub(crate) struct Slots<T: ?Sized>(RefCell<Table<T>>);

impl<T: ?Sized> Default for Slots<T> {
    fn default() -> Self {
        Self(RefCell::new(Table { slots: Vec::new(), used: 0 }))
    }
}

impl<T: ?Sized> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.try_borrow().map_or(0, |table| table.used)
    }

    pub(crate) fn contains(&self, id: ContextId) -> bool {
        self.0.try_borrow().is_ok_and(|table| table.find(id.0).is_some())
    }

    pub(crate) fn insert(&self, id: ContextId, context: Box<T>) {
        let old = match self.0.try_borrow_mut() {
            Ok(mut table) => table.insert(id.0, context),
            Err(_) => None,
        };
        // Dropped with no borrow held, as everywhere here.
        drop(old);
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, id: ContextId) -> bool {
        let old = match self.0.try_borrow_mut() {
            Ok(mut table) => table.remove(id.0),
            Err(_) => None,
        };
        old.is_some()
    }

    /// Runs `f` on a context, as the current one; `None` if it is unknown or already running.
    pub(crate) fn with<R>(&self, host: &dyn Proxy, id: ContextId, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut context = self.0.try_borrow_mut().ok()?.context(id.0)?.take()?;
        let calls = host.calls();
        let before = calls.current();
        calls.enter(id);
        let result = f(&mut context);
        calls.enter(before);
        let mut table = self.0.try_borrow_mut().ok();
        match table.as_mut().and_then(|table| table.context(id.0)) {
            Some(slot) => *slot = Some(context),
            None => {
                // Deleted while it ran: what it sent since then has no addressee either.
                drop(table);
                calls.ended(id);
            }
        }
        Some(result)
    }
}

/// Open addressing with linear probing. At least half of the slots are free.
struct Table<T: ?Sized> {
    /// A power of two of them, or none.
    slots: Vec<Option<Slot<T>>>,
    used: usize,
}

struct Slot<T: ?Sized> {
    id: u32,
    context: Option<Box<T>>,
}

impl<T: ?Sized> Table<T> {
    fn home(&self, id: u32) -> usize {
        usize::try_from(id).unwrap_or_default() & self.slots.len().wrapping_sub(1)
    }

    fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.slots.len().wrapping_sub(1)
    }

    fn find(&self, id: u32) -> Option<usize> {
        let mut at = self.home(id);
        while self.slots.get(at)?.as_ref()?.id != id {
            at = self.after(at);
        }
        Some(at)
    }

    fn context(&mut self, id: u32) -> Option<&mut Option<Box<T>>> {
        let at = self.find(id)?;
        self.slots.get_mut(at)?.as_mut().map(|slot| &mut slot.context)
    }

    fn insert(&mut self, id: u32, context: Box<T>) -> Option<Box<T>> {
        if let Some(slot) = self.context(id) {
            return slot.replace(context);
        }
        if self.used.saturating_mul(2) >= self.slots.len() {
            let size = self.slots.len().saturating_mul(2).max(FIRST);
            let fresh = std::iter::repeat_with(|| None).take(size).collect();
            let old = std::mem::replace(&mut self.slots, fresh);
            old.into_iter().flatten().for_each(|slot| self.place(slot));
        }
        self.place(Slot { id, context: Some(context) });
        self.used = self.used.saturating_add(1);
        None
    }

    /// Puts a slot into the first free place after its own.
    fn place(&mut self, slot: Slot<T>) {
        let mut at = self.home(slot.id);
        while self.slots.get(at).is_some_and(Option::is_some) {
            at = self.after(at);
        }
        if let Some(free) = self.slots.get_mut(at) {
            *free = Some(slot);
        }
    }

    /// Whoever stands behind it without a gap may have come there past it, and is placed anew.
    fn remove(&mut self, id: u32) -> Option<Slot<T>> {
        let mut at = self.find(id)?;
        let removed = self.slots.get_mut(at)?.take();
        self.used = self.used.saturating_sub(1);
        at = self.after(at);
        while let Some(next) = self.slots.get_mut(at).and_then(Option::take) {
            self.place(next);
            at = self.after(at);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_table_is_a_map() {
        let mut table = Table::<u32> { slots: Vec::new(), used: 0 };
        let mut map = BTreeMap::new();
        let mut random = 1_u32;
        for step in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Few ids, far apart and side by side, so that they meet.
            let id = (random >> 8) % 40 * if random >> 31 == 0 { 64 } else { 1 };
            if random >> 30 & 1 == 0 {
                assert_eq!(table.insert(id, Box::new(step)).as_deref().copied(), map.insert(id, step));
            } else {
                let removed = table.remove(id).and_then(|slot| slot.context);
                assert_eq!(removed.as_deref().copied(), map.remove(&id));
            }
            assert_eq!(table.used, map.len());
            let held = |(id, value): (&u32, &u32)| {
                table
                    .find(*id)
                    .and_then(|at| table.slots[at].as_ref())
                    .and_then(|slot| slot.context.as_deref())
                    == Some(value)
            };
            assert!(map.iter().all(held));
        }
        assert!(map.len() > 10);
    }
}
