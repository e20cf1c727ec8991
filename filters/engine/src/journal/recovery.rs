//! Journals whose VM is gone, and how another one takes them over.

use super::batch::{Batch, keep};
use super::head::{JournalHead, hidden_name};
use super::{BatchOrigin, Journal, NUMBER_LEN};
use crate::port::Store;

/// How often a head is renewed and the registry is looked through, in milliseconds.
const RENEW_MS: u64 = 1_000;

/// The number in the slot of a record that was taken over: beyond every acknowledged one, since it is of
/// another stream.
const RECOVERED: u64 = u64::MAX;

impl Journal {
    /// Renews the head, and takes over journals whose VM is gone. Returns how many records were recovered.
    pub fn renew(&mut self, store: &dyn Store, now_ms: u64) -> usize {
        if now_ms < self.renew_at_ms {
            return 0;
        }
        self.renew_at_ms = now_ms.saturating_add(RENEW_MS);
        self.renewed_ms = now_ms;
        self.write_head(store);
        let registry = format!("portcullis.audit.{}", self.space);
        let (listed, version) = store.get(&registry);
        let listed = String::from_utf8(listed).unwrap_or_default();
        let mut names: Vec<&str> = listed.split('\n').filter(|n| !n.is_empty()).collect();
        let (mut gone, mut waiting_elsewhere) = (Vec::new(), 0_u64);
        for name in names.iter().filter(|n| **n != self.name) {
            match self.head(store, name).filter(|head| !head.is_over(now_ms)) {
                Some(head) => waiting_elsewhere = waiting_elsewhere.saturating_add(head.waiting),
                None => gone.push((*name).to_owned()),
            }
        }
        self.waiting_elsewhere = waiting_elsewhere;
        let known = names.contains(&self.name.as_str());
        if known && gone.is_empty() {
            return 0;
        }
        names.retain(|n| !gone.iter().any(|g| g == n));
        if !known {
            names.push(&self.name);
        }
        // Whoever changes the registry first is the one who recovers; the others look again later.
        let listed = names.join("\n");
        if !store.swap(&registry, listed.as_bytes(), version) {
            return 0;
        }
        gone.iter().map(|name| self.recover(store, name)).sum()
    }

    fn head(&self, store: &dyn Store, name: &str) -> Option<JournalHead> {
        JournalHead::decode(&store.get(&format!("{}.head", hidden_name(&self.key, name))).0)
    }

    /// Takes over what another journal left, slot by slot, so that it outlives this VM too.
    fn recover(&mut self, store: &dyn Store, name: &str) -> usize {
        let Some(head) = self.head(store, name) else { return 0 };
        let hidden = hidden_name(&self.key, name);
        let mut found = 0_usize;
        for at in 0..head.slots {
            let key = format!("{hidden}.{at}");
            let (slot, _) = store.get(&key);
            if slot.is_empty() {
                continue;
            }
            let record = slot.split_at_checked(NUMBER_LEN);
            let number =
                record.and_then(|(n, _)| n.try_into().map(u64::from_le_bytes).ok()).unwrap_or_default();
            if let (Some((_, record)), true) = (record, number > head.acknowledged) {
                self.keep_recovered(store, record);
                found = found.saturating_add(1);
            }
            store.set(&key, b"");
        }
        store.set(&format!("{hidden}.head"), b"");
        found
    }

    fn keep_recovered(&mut self, store: &dyn Store, record: &[u8]) {
        self.begin_slot(RECOVERED);
        self.scratch.extend_from_slice(record);
        let slot = self.write_slot(store);
        let under_way = self.flight == Some(BatchOrigin::Recovered);
        let limit = usize::try_from(self.limits.batch).unwrap_or(usize::MAX);
        keep(&mut self.recovered, under_way, limit, Batch::default, (RECOVERED, slot, record));
    }
}
