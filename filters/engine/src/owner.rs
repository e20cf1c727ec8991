//! Which of several plugins drives what they share.

use crate::guarded::Rebuild;

/// Without a tick of the owner for so long, another plugin takes over, in milliseconds. One that was only late
/// takes over again when its turn comes; what was under way is done once more then.
const LOST_MS: u64 = 200;

/// The plugin that drives it.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    plugin: Option<u64>,
    seen_ms: u64,
}

impl Rebuild for Owner {
    fn rebuild(&mut self) {
        *self = Self::default();
    }
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// That of the plugin that asks, as before.
    Mine,
    /// From now on that of the plugin that asks.
    New,
    /// That of another.
    Anothers,
}

impl Owner {
    /// A plugin ticks.
    pub(crate) fn claim(&mut self, plugin: u64, now_ms: u64) -> Claim {
        let lost = now_ms.saturating_sub(self.seen_ms) > LOST_MS;
        let claim = match self.plugin {
            Some(owner) if owner == plugin => Claim::Mine,
            Some(_) if !lost => return Claim::Anothers,
            _ => Claim::New,
        };
        self.plugin = Some(plugin);
        self.seen_ms = now_ms;
        claim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_stays_until_it_is_gone() {
        let mut owner = Owner::default();
        assert_eq!(owner.claim(1, 0), Claim::New);
        assert_eq!((owner.claim(1, 50), owner.claim(2, 60)), (Claim::Mine, Claim::Anothers));
        assert_eq!((owner.claim(2, 251), owner.claim(1, 260)), (Claim::New, Claim::Anothers));
    }
}
