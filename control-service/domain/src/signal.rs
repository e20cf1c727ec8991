//! What is known of how a cluster is doing, and what follows from it.
//!
//! Three signals say it: the cluster's own heartbeats, the tunnel that it holds, and a probe that goes all the way to its
//! Data API. Which of them have to agree is configured by where a cluster stands. What a signal says comes in events
//! alone, so that the rules here need no clock but for one thing: getting better is rationed, so that nothing flaps.

use portcullis_model::decision::ClusterState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text_enum::text_enum;

text_enum!(
    /// What is observed of a cluster.
    Observed {
        /// Nothing has said yet that it can be reached.
        Pending = "pending",
        /// All is well.
        Online = "online",
        /// A part fails.
        Degraded = "degraded",
        /// It cannot be reached, or is not heard of.
        Offline = "offline",
    }
);
text_enum!(
    /// Who says how a cluster is doing.
    SignalName {
        /// The cluster itself.
        Heartbeat = "heartbeat",
        /// Where its tunnel ends.
        Tunnel = "tunnel",
        /// A request of the platform's own to its Data API.
        Probe = "probe",
    }
);
text_enum!(
    /// What a signal says.
    SignalValue {
        /// All is well.
        Good = "good",
        /// A part fails.
        Degraded = "degraded",
        /// Nothing is heard, held or answered.
        Bad = "bad",
    }
);

impl From<Observed> for ClusterState {
    fn from(observed: Observed) -> Self {
        match observed {
            Observed::Pending => Self::Pending,
            Observed::Online => Self::Online,
            Observed::Degraded => Self::Degraded,
            Observed::Offline => Self::Offline,
        }
    }
}

/// What a signal said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What.
    pub value: SignalValue,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who said it: the gateway that was asked; empty of a heartbeat, which the cluster sends itself.
    pub source: String,
}

/// What each signal said last; `None` where it has said nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    /// The cluster's own word.
    pub heartbeat: Option<Said>,
    /// Of its tunnel.
    pub tunnel: Option<Said>,
    /// Of a request to its Data API.
    pub probe: Option<Said>,
}

impl Signals {
    /// What one of them said last.
    #[must_use]
    pub fn of(&self, name: SignalName) -> Option<&Said> {
        match name {
            SignalName::Heartbeat => self.heartbeat.as_ref(),
            SignalName::Tunnel => self.tunnel.as_ref(),
            SignalName::Probe => self.probe.as_ref(),
        }
    }

    /// One of them says something.
    pub fn say(&mut self, name: SignalName, said: Said) {
        *match name {
            SignalName::Heartbeat => &mut self.heartbeat,
            SignalName::Tunnel => &mut self.tunnel,
            SignalName::Probe => &mut self.probe,
        } = Some(said);
    }
}

/// Which signals have to agree before a cluster is online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Required {
    /// Its heartbeats.
    pub heartbeat: bool,
    /// Its tunnel.
    pub tunnel: bool,
    /// The probe.
    pub probe: bool,
}

impl Default for Required {
    fn default() -> Self {
        Self { heartbeat: true, tunnel: false, probe: false }
    }
}

impl Required {
    /// Whether one of them is.
    #[must_use]
    pub fn has(self, name: SignalName) -> bool {
        match name {
            SignalName::Heartbeat => self.heartbeat,
            SignalName::Tunnel => self.tunnel,
            SignalName::Probe => self.probe,
        }
    }
}

/// How often a cluster may get better: so many times at once, and then one time in so long. Getting worse is never put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recoveries {
    /// How many at once.
    pub burst: u64,
    /// One more in so many milliseconds; 0: as often as it likes.
    pub every_ms: u64,
}

impl Default for Recoveries {
    fn default() -> Self {
        Self { burst: 5, every_ms: 30_000 }
    }
}

impl Recoveries {
    /// Until when recoveries are used up once there is one more now; `None` while there may be none. `until_ms` is what
    /// came of the one before. A time too far ahead was written before the clock was set back.
    fn one_more(self, until_ms: u64, now_ms: u64) -> Option<u64> {
        let most = self.every_ms.saturating_mul(self.burst);
        let until_ms = if until_ms.saturating_sub(now_ms) > most { now_ms } else { until_ms.max(now_ms) };
        let next = until_ms.saturating_add(self.every_ms);
        (next.saturating_sub(now_ms) <= most).then_some(next)
    }
}

/// The rules by which signals make a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of clusters on the platform.
    pub platform_hosted: Required,
    /// Of clusters at customers'.
    pub on_premises: Required,
    /// How often one may get better.
    pub recoveries: Recoveries,
}

/// What is observed, since when and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What.
    pub observed: Observed,
    /// Since when, milliseconds since the Unix epoch; `None` where that was not written down yet.
    pub since_ms: Option<u64>,
    /// The signal that made it so.
    pub cause: Option<SignalName>,
    /// Until when recoveries are used up.
    pub recovers_ms: u64,
}

impl Standing {
    /// Of a cluster of which nothing was heard.
    pub const NEW: Self = Self { observed: Observed::Pending, since_ms: None, cause: None, recovers_ms: 0 };

    /// What it is once a signal has said something; `None` when nothing is different.
    #[must_use]
    pub fn after(
        self,
        (signals, by): (&Signals, SignalName),
        required: Required,
        recoveries: Recoveries,
        now_ms: u64,
    ) -> Option<Self> {
        let wanted = wanted(self.observed, signals, required);
        if wanted == self.observed {
            return None;
        }
        // The first time is no recovery.
        let recovers_ms = match self.observed == Observed::Pending || wanted > self.observed {
            true => self.recovers_ms,
            false => recoveries.one_more(self.recovers_ms, now_ms)?,
        };
        Some(Self { observed: wanted, since_ms: Some(now_ms), cause: Some(by), recovers_ms })
    }
}

/// What the signals say together. What is not heard of, or has no tunnel, is offline. A probe goes through the gateway, which
/// lets nobody to a cluster that is pending or offline: so the others alone decide whether it is open, and the probe whether
/// all is well.
#[must_use]
pub fn wanted(before: Observed, signals: &Signals, required: Required) -> Observed {
    let needed = SignalName::ALL.iter().filter(|name| required.has(**name));
    let values: Vec<_> = needed.map(|name| (*name, signals.of(*name).map(|said| said.value))).collect();
    let is_there = |(name, value): &(SignalName, Option<SignalValue>)| {
        *name == SignalName::Probe || matches!(value, Some(SignalValue::Good | SignalValue::Degraded))
    };
    if !values.iter().all(is_there) {
        return if before == Observed::Pending { Observed::Pending } else { Observed::Offline };
    }
    match values.iter().all(|(_, value)| *value == Some(SignalValue::Good)) {
        true => Observed::Online,
        false => Observed::Degraded,
    }
}

/// Turns single answers into what a signal says: as many in a row as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steady {
    value: Option<SignalValue>,
    other: Option<SignalValue>,
    in_a_row: u32,
}

/// How many answers in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InARow {
    /// Until something is good again.
    pub good: u32,
    /// Until it is not.
    pub bad: u32,
}

impl Steady {
    /// Goes on from what was said before.
    #[must_use]
    pub fn from(value: Option<SignalValue>) -> Self {
        Self { value, other: None, in_a_row: 0 }
    }

    /// What it says after one more answer. The first answer of all counts at once.
    pub fn answer(&mut self, answer: SignalValue, wanted: InARow) -> SignalValue {
        let Some(value) = self.value.filter(|value| *value != answer) else {
            *self = Self::from(Some(answer));
            return answer;
        };
        self.in_a_row = if self.other == Some(answer) { self.in_a_row.saturating_add(1) } else { 1 };
        self.other = Some(answer);
        let enough = if answer < value { wanted.good } else { wanted.bad };
        if self.in_a_row < enough {
            return value;
        }
        *self = Self::from(Some(answer));
        answer
    }
}

/// A signal as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignalReport {
    /// Which one.
    pub signal: SignalName,
    /// Whether it has to be good for the cluster to be online.
    pub required: bool,
    /// What it says; null while it has said nothing.
    pub value: Option<SignalValue>,
    /// Seconds since it said so last, as far as that is written down.
    pub age_s: Option<u64>,
    /// Who was asked; null of heartbeats.
    pub source: Option<String>,
}

impl SignalReport {
    /// All signals of a cluster.
    #[must_use]
    pub fn all(signals: &Signals, required: Required, now_ms: u64) -> Vec<Self> {
        let of = |signal: &SignalName| {
            let said = signals.of(*signal);
            Self {
                signal: *signal,
                required: required.has(*signal),
                value: said.map(|said| said.value),
                age_s: said.map(|said| now_ms.saturating_sub(said.at_ms) / 1000),
                source: said.filter(|said| !said.source.is_empty()).map(|said| said.source.clone()),
            }
        };
        SignalName::ALL.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Required = Required { heartbeat: true, tunnel: true, probe: true };
    const VALUES: [SignalValue; 3] = [SignalValue::Good, SignalValue::Degraded, SignalValue::Bad];

    fn said(value: SignalValue) -> Said {
        Said { value, at_ms: 1, source: String::new() }
    }

    fn signals(values: [Option<SignalValue>; 3]) -> Signals {
        let [heartbeat, tunnel, probe] = values.map(|value| value.map(said));
        Signals { heartbeat, tunnel, probe }
    }

    /// Numbers that look random and are the same each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    #[test]
    fn all_that_are_required_have_to_agree() {
        use SignalValue::{Bad, Degraded, Good};
        let of = |values| wanted(Observed::Online, &signals(values), ALL);
        assert_eq!(of([Some(Good); 3]), Observed::Online);
        assert_eq!(of([Some(Good), Some(Good), Some(Bad)]), Observed::Degraded, "it answers badly");
        assert_eq!(of([Some(Degraded), Some(Good), Some(Good)]), Observed::Degraded);
        assert_eq!(of([Some(Good), Some(Bad), Some(Good)]), Observed::Offline, "there is no way to it");
        assert_eq!(of([Some(Bad), Some(Good), Some(Good)]), Observed::Offline, "it is not heard of");
        assert_eq!(
            of([Some(Good), None, Some(Good)]),
            Observed::Offline,
            "what says nothing agrees to nothing"
        );
        assert_eq!(of([Some(Good), Some(Good), None]), Observed::Degraded, "nobody has asked it yet");
        let first = |values| wanted(Observed::Pending, &signals(values), ALL);
        assert_eq!(first([Some(Good), None, Some(Good)]), Observed::Pending);
        assert_eq!(first([Some(Bad); 3]), Observed::Pending);
        assert_eq!(first([Some(Good), Some(Good), None]), Observed::Degraded, "it can be asked from now on");
        assert_eq!(first([Some(Good); 3]), Observed::Online);
        let one = Required { heartbeat: true, tunnel: false, probe: false };
        assert_eq!(wanted(Observed::Offline, &signals([Some(Good), Some(Bad), None]), one), Observed::Online);
    }

    #[test]
    fn a_cluster_changes_a_bounded_number_of_times_whatever_its_signals_do() {
        let mut dice = Dice(7);
        for round in 0..200 {
            let burst = 1 + dice.below(5);
            let recoveries = Recoveries { burst, every_ms: 1 + dice.below(5000) };
            let required = Required { heartbeat: true, tunnel: round % 3 == 0, probe: round % 2 == 0 };
            let (mut signals, mut standing) = (Signals::default(), Standing::NEW);
            let (mut now_ms, mut changes, mut better) = (1_000_000, 0, 0);
            let begun_ms = now_ms;
            for _ in 0..2000 {
                now_ms += dice.below(400);
                let name = SignalName::ALL[usize::try_from(dice.below(3)).unwrap()];
                signals.say(name, said(VALUES[usize::try_from(dice.below(3)).unwrap()]));
                let wanted = wanted(standing.observed, &signals, required);
                let after = standing.after((&signals, name), required, recoveries, now_ms);
                assert!(after.is_some() || wanted <= standing.observed, "getting worse is never put off");
                if let Some(after) = after {
                    assert_eq!((after.observed, after.since_ms), (wanted, Some(now_ms)));
                    changes += 1;
                    better += u64::from(standing.observed != Observed::Pending && wanted < standing.observed);
                    standing = after;
                }
            }
            let most = burst + (now_ms - begun_ms) / recoveries.every_ms + 1;
            assert!(better <= most, "{better} recoveries, {most} allowed");
            assert!(changes <= 1 + 3 * (most + 1), "{changes} changes, {better} recoveries");
            // Once they are good, it is online after one wait at most.
            SignalName::ALL.iter().for_each(|name| signals.say(*name, said(SignalValue::Good)));
            let later = now_ms + recoveries.every_ms * burst;
            let after = standing.after((&signals, SignalName::Probe), required, recoveries, later);
            assert!(after.is_none_or(|after| after.observed == Observed::Online));
            assert!(after.is_some() || standing.observed == Observed::Online);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let recoveries = Recoveries { burst: 2, every_ms: 1000 };
        let far = recoveries.one_more(1_000_000, 1_000_000).unwrap();
        assert!(recoveries.one_more(far, 5_000).is_some());
        assert_eq!(recoveries.one_more(far + 1000, 1_000_000), None, "two were used up");
        assert!(Recoveries { burst: 1, every_ms: 0 }.one_more(7, 7).is_some());
    }

    #[test]
    fn an_answer_counts_when_there_were_enough_of_it_in_a_row() {
        use SignalValue::{Bad, Good};
        let mut steady = Steady::from(None);
        let wanted = InARow { good: 2, bad: 3 };
        let mut said = |answers: &[SignalValue]| {
            answers.iter().map(|answer| steady.answer(*answer, wanted)).collect::<Vec<_>>()
        };
        assert_eq!(said(&[Bad]), [Bad], "the first one counts at once");
        assert_eq!(said(&[Good, Bad, Good, Good]), [Bad, Bad, Bad, Good]);
        assert_eq!(said(&[Bad, Bad, Good, Bad, Bad, Bad]), [Good, Good, Good, Good, Good, Bad]);
    }

    #[test]
    fn single_answers_change_what_a_signal_says_no_more_often_than_they_can_stand_in_a_row() {
        let mut dice = Dice(3);
        for _ in 0..200 {
            let wanted = InARow {
                good: 1 + u32::try_from(dice.below(4)).unwrap(),
                bad: 1 + u32::try_from(dice.below(4)).unwrap(),
            };
            let mut steady = Steady::from(Some(SignalValue::Good));
            let (mut before, mut changes, answers) = (SignalValue::Good, 0, 1000);
            for _ in 0..answers {
                let answer = [SignalValue::Good, SignalValue::Bad][usize::try_from(dice.below(2)).unwrap()];
                let now = steady.answer(answer, wanted);
                changes += u32::from(now != before);
                before = now;
            }
            assert!(changes <= 2 * answers / (wanted.good + wanted.bad) + 1, "{changes}");
        }
    }
}
