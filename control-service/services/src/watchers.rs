//! Callers who are told of every change of a cluster's state as it happens.
//!
//! Nothing is kept for them but where each of them is in the snapshot, which holds the newest state of every cluster: so
//! what they miss costs no memory, and whoever comes back goes on from where they were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_control_domain::caller::{Caller, Reach};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_snapshot::ClusterNews;
use portcullis_control_store::Store;
use portcullis_protocol::audit::{hex, unhex};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::people::People;

/// Watchers at a time, at one replica.
const MOST: usize = 128;
/// Of one tenant.
const MOST_OF_TENANT: usize = 8;
/// Changes that are looked up at a time.
const AT_ONCE: usize = 100;
/// Events that wait for a watcher to read them.
pub const WAITING: usize = 256;
/// How long a watcher may read nothing while that many wait.
const SLOW: Duration = Duration::from_secs(10);
/// How often something is sent although nothing has changed, so that both ends know that the other one is there.
const ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked whether the caller may still watch.
const LOOK: Duration = Duration::from_secs(2);

/// Where a watcher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The name of the store's life.
    pub generation: [u8; 16],
    /// The snapshot's revision.
    pub revision: u64,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A cluster is in this state now.
    Cluster(Place, ClusterNews),
    /// What was told before, if anything, may leave changes out: list the clusters anew. From here on every change is told.
    Resync(Place),
    /// Nothing has changed.
    Alive,
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By somebody's wish, or because it has to begin anew elsewhere.
    Over,
    /// The watcher read too slowly.
    Slow,
}

/// Who watches.
pub struct Watchers {
    store: Store,
    people: Arc<People>,
    open: Mutex<BTreeMap<String, usize>>,
}

/// The place of one watcher.
pub struct Watcher {
    all: Arc<Watchers>,
    caller: Caller,
    of: String,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
        }
        open.retain(|_, count| *count > 0);
    }
}

impl Watchers {
    /// Nobody yet.
    #[must_use]
    pub fn new(store: Store, people: Arc<People>) -> Self {
        Self { store, people, open: Mutex::default() }
    }

    /// A place for one more; `None` where there is none.
    #[must_use]
    pub fn enter(self: &Arc<Self>, caller: Caller) -> Option<Watcher> {
        let of = match caller.role.reach() {
            Reach::Tenant(tenant) | Reach::Cluster(tenant, _) => tenant.to_string(),
            // No tenant has the empty name.
            Reach::Platform | Reach::Nothing => String::new(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if of.is_empty() { MOST } else { MOST_OF_TENANT };
        if open.values().sum::<usize>() >= MOST || open.get(&of).is_some_and(|count| *count >= most) {
            return None;
        }
        *open.entry(of.clone()).or_default() += 1;
        drop(open);
        Some(Watcher { all: Arc::clone(self), caller, of })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Watcher {
    /// Tells of changes until the caller goes away, may not watch any more, reads too slowly, or this replica may lack
    /// something. `from`: where the caller was.
    pub async fn tell(
        self,
        from: Option<Place>,
        events: Sender<Event>,
        mut stopping: watch::Receiver<bool>,
    ) -> Ended {
        let hub = Arc::clone(self.all.store.hub());
        let (reach, generation) = (self.caller.role.reach(), hub.generation());
        let mut revision = hub.follow();
        let place = |revision| Place { generation, revision };
        let known = from.filter(|from| from.generation == generation && from.revision <= hub.revision());
        let mut at = known.map_or_else(|| hub.revision(), |from| from.revision);
        if known.is_none()
            && let Err(ended) = send(&events, Event::Resync(place(at))).await
        {
            return ended;
        }
        let (mut told, mut looked) = (Instant::now(), Instant::now());
        loop {
            // Marked before the look, so that a change between look and wait is not missed.
            revision.mark_unchanged();
            let (news, upto) = hub.cluster_news(at, AT_ONCE);
            let is_news = upto > at;
            at = upto;
            for change in news.into_iter().filter(|change| reach.has_cluster(&change.tenant, &change.id)) {
                told = Instant::now();
                if let Err(ended) = send(&events, Event::Cluster(place(change.revision), change)).await {
                    return ended;
                }
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if !self.may_still_watch().await {
                    return Ended::Over;
                }
            }
            if is_news {
                continue;
            }
            if told.elapsed() >= ALIVE {
                told = Instant::now();
                if let Err(ended) = send(&events, Event::Alive).await {
                    return ended;
                }
            }
            tokio::select! {
                changed = revision.changed() => if changed.is_err() { return Ended::Over },
                () = tokio::time::sleep(LOOK) => {}
                () = events.closed() => return Ended::Over,
                _ = stopping.wait_for(|stop| *stop) => return Ended::Over,
                _ = hub.freshness().until_behind() => return Ended::Over,
            }
        }
    }

    /// Whether the credential is still good, and the role still theirs.
    async fn may_still_watch(&self) -> bool {
        let Watchers { store, people, .. } = &*self.all;
        if self.caller.expires_at_s.is_some_and(|end| end <= now_ms() / 1000) {
            return false;
        }
        if self.caller.voucher.as_ref().is_some_and(|voucher| !people.vouches(voucher, &self.caller.role)) {
            return false;
        }
        // Who cannot be told is not told anything.
        store.check_fresh().is_ok() && store.is_still_good(self.caller.clone()).await.unwrap_or_default()
    }
}

/// Gives an event to a watcher, who has gone away or reads too slowly otherwise.
async fn send(events: &Sender<Event>, event: Event) -> Result<(), Ended> {
    match timeout(SLOW, events.send(event)).await {
        Ok(Ok(())) => Ok(()),
        _ if events.is_closed() => Err(Ended::Over),
        _ => Err(Ended::Slow),
    }
}

impl Place {
    /// As it stands in an event's id.
    #[must_use]
    pub fn to_text(self) -> String {
        [hex(&self.generation), self.revision.to_string()].join("-")
    }

    /// Reads an event's id.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (generation, revision) = text.split_once('-')?;
        let generation = unhex(generation)?.try_into().ok()?;
        Some(Self { generation, revision: revision.parse().ok()? })
    }
}
