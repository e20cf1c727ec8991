//! Who holds a cluster closed, and how each of them lets go.
//!
//! Each side closes a cluster for itself and opens what it closed itself, so that nobody opens what somebody else has a
//! reason to keep closed. A cluster is open when no hold is left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::audit::{AuditEvent, RecordedCaller};
use crate::caller::Authority;
use crate::clock::now_ms;
use crate::schema;

/// Why somebody closes a cluster, for people: 1 to 200 characters, none of which is a control character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldReason(String);

/// This text cannot be the reason of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 200 characters, none of them a control character")]
pub struct InvalidReason;

impl TryFrom<String> for HoldReason {
    type Error = InvalidReason;

    fn try_from(text: String) -> Result<Self, InvalidReason> {
        let sound = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if sound { Ok(Self(text)) } else { Err(InvalidReason) }
    }
}

impl From<HoldReason> for String {
    fn from(reason: HoldReason) -> Self {
        reason.0
    }
}

/// Whose word it is, who said it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// On whose behalf.
    pub side: Authority,
    /// Who; `None` where that is not known any more.
    pub by: Option<RecordedCaller>,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl From<&AuditEvent> for Word {
    fn from(event: &AuditEvent) -> Self {
        Self { side: event.reach().authority(), by: Some(event.by.clone()), at_ms: now_ms() }
    }
}

/// Somebody's word that a cluster is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// On whose behalf: this side alone lets go of it.
    pub side: Authority,
    /// Who said so; null of holds of before they had one, and for callers of a lower side than the hold's.
    pub by: Option<RecordedCaller>,
    /// Why, for people; null where nobody said.
    #[schemars(with = "Option<schema::HoldReason>")]
    pub reason: Option<HoldReason>,
    /// Since when, milliseconds since the Unix epoch; null of holds of before they had one.
    pub since_ms: Option<u64>,
}

/// All holds of a cluster: one of each side at most, the highest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Holds(Vec<Hold>);

impl Holds {
    /// One more; the hold that a side has already stands as it was made.
    pub(crate) fn add(&mut self, word: Word, reason: Option<HoldReason>) {
        if self.sides().any(|side| side == word.side) {
            return;
        }
        let Word { side, by, at_ms } = word;
        self.0.push(Hold { side, by, reason, since_ms: Some(at_ms) });
        self.0.sort_unstable_by_key(|hold| hold.side);
    }

    /// A side lets go.
    ///
    /// # Errors
    /// It has no hold, and others have: [`Refused::HeldAbove`], [`Refused::HeldBelow`].
    pub(crate) fn lift(&mut self, by: Authority) -> Result<(), Refused> {
        if let Some(at) = self.0.iter().position(|hold| hold.side == by) {
            self.0.remove(at);
            return Ok(());
        }
        match self.sides().last() {
            Some(highest) if highest > by => Err(Refused::HeldAbove),
            Some(_) => Err(Refused::HeldBelow),
            None => Ok(()),
        }
    }

    /// Whether nobody holds the cluster.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who holds it, the highest last.
    pub fn sides(&self) -> impl Iterator<Item = Authority> + '_ {
        self.0.iter().map(|hold| hold.side)
    }

    /// As somebody of this side sees them: the people of the sides above have no names for those below.
    pub(crate) fn hide_from(&mut self, side: Authority) {
        self.0.iter_mut().filter(|hold| hold.side > side).for_each(|hold| hold.by = None);
    }
}

#[cfg(test)]
mod tests {
    use Authority::{Owner, Platform, Tenant};

    use super::*;

    fn word(side: Authority, at_ms: u64) -> Word {
        Word { side, by: Some(RecordedCaller::Token { id: side.as_str().to_owned() }), at_ms }
    }

    fn held(by: &[Authority]) -> Holds {
        let mut holds = Holds::default();
        by.iter().for_each(|side| holds.add(word(*side, 7), None));
        holds
    }

    #[test]
    fn each_side_lets_go_of_its_own_and_of_nothing_else() {
        let sides = [Owner, Tenant, Platform];
        for mask in 0..8_usize {
            let of: Vec<_> = (0..3).filter(|bit| mask & (1 << bit) > 0).map(|bit| sides[bit]).collect();
            for by in sides {
                let mut holds = held(&of);
                let outcome = holds.lift(by);
                let left: Vec<_> = of.iter().copied().filter(|side| *side != by).collect();
                assert_eq!(holds.sides().collect::<Vec<_>>(), left);
                let wanted = match (of.contains(&by), of.last()) {
                    (true, _) | (_, None) => Ok(()),
                    (false, Some(highest)) if *highest > by => Err(Refused::HeldAbove),
                    (false, Some(_)) => Err(Refused::HeldBelow),
                };
                assert_eq!(outcome, wanted, "{of:?}, {by:?}");
            }
        }
    }

    #[test]
    fn the_first_word_of_a_side_stands() {
        let mut holds = Holds::default();
        let reason = |text: &str| HoldReason::try_from(text.to_owned()).ok();
        holds.add(word(Platform, 1), reason("an incident"));
        holds.add(word(Platform, 2), reason("another one"));
        holds.add(word(Owner, 3), None);
        assert_eq!(holds.0.iter().map(|hold| hold.since_ms).collect::<Vec<_>>(), [Some(3), Some(1)]);
        assert_eq!(holds.0[1].reason, reason("an incident"));
    }

    #[test]
    fn nobody_learns_the_names_of_a_side_above() {
        for (side, named) in
            [(Owner, vec![true, false, false]), (Tenant, vec![true, true, false]), (Platform, vec![true; 3])]
        {
            let mut holds = held(&[Owner, Tenant, Platform]);
            holds.hide_from(side);
            assert_eq!(holds.0.iter().map(|hold| hold.by.is_some()).collect::<Vec<_>>(), named, "{side:?}");
        }
    }

    #[test]
    fn a_reason_is_bounded_and_can_be_shown() {
        let is_taken = |text: String| HoldReason::try_from(text).is_ok();
        assert!(is_taken("x".to_owned()) && is_taken("ü".repeat(200)));
        for wrong in [String::new(), "x".repeat(201), "a\nb".to_owned(), "\u{1b}[31m".to_owned()] {
            assert!(!is_taken(wrong.clone()), "{wrong:?}");
        }
    }
}
