//! What the services of a scenario answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_testhost::{Answer, Request, Upstream};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    #[default]
    Answer,
    /// Ends in the middle, after the headers and body given.
    Cut,
    /// Nothing comes after the headers and body given.
    Stall,
    Reset,
    Refused,
    Never,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AnswerEntry {
    /// To which requests it is an answer; to all if absent.
    #[serde(default)]
    when: When,
    #[serde(default)]
    outcome: Outcome,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    chunks: Vec<String>,
    #[serde(default)]
    trailers: Vec<(String, String)>,
    #[serde(default)]
    delay_ms: u64,
}

fn ok() -> u16 {
    200
}

/// Which requests an answer is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct When {
    method: Option<String>,
    /// With the query, if it has a `?`; else without.
    path: Option<String>,
}

impl When {
    fn fits(&self, request: &Request) -> bool {
        let of = |name: &str| request.headers.get(name).unwrap_or_default().to_owned();
        let path = of(":path");
        let bare = path.split('?').next().unwrap_or_default();
        self.method.as_ref().is_none_or(|method| *method == of(":method"))
            && self
                .path
                .as_ref()
                .is_none_or(|wanted| *wanted == if wanted.contains('?') { &path } else { bare })
    }

    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// What came to a service that had no answer for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unanswered(Arc<Mutex<Vec<String>>>);

impl Unanswered {
    /// Takes what was noted since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, service: &str, request: &Request) {
        let of = |name: &str| request.headers.get(name).unwrap_or("?");
        let line = format!("{service} has no answer for {} {}", of(":method"), of(":path"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A service: answers that are for a request go before those that are for all. Of the answers for the same requests one
/// is given after the other, and the last one again and again.
pub(crate) fn script(service: &str, answers: &[AnswerEntry], unanswered: &Unanswered) -> Upstream {
    if answers.is_empty() {
        return Upstream::sequence([]);
    }
    let mut queues: Vec<(When, Vec<Answer>)> = Vec::new();
    for entry in answers {
        match queues.iter_mut().find(|(when, _)| *when == entry.when) {
            Some((_, queue)) => queue.push(entry.answer()),
            None => queues.push((entry.when.clone(), vec![entry.answer()])),
        }
    }
    queues.sort_by_key(|(when, _)| when.is_any());
    let (service, unanswered) = (service.to_owned(), unanswered.clone());
    Upstream::with(move |request| match queues.iter_mut().find(|(when, _)| when.fits(request)) {
        Some((_, queue)) if queue.len() > 1 => queue.remove(0),
        Some((_, queue)) => queue.first().cloned().unwrap_or_else(Answer::never),
        None => {
            unanswered.note(&service, request);
            Answer::never()
        }
    })
}

impl AnswerEntry {
    fn answer(&self) -> Answer {
        let start = match self.outcome {
            Outcome::Answer | Outcome::Cut | Outcome::Stall => Answer::status(self.status),
            Outcome::Reset => Answer::reset(),
            Outcome::Refused => Answer::refused(),
            Outcome::Never => Answer::never(),
        };
        let answer = self.headers.iter().fold(start, |answer, (name, value)| answer.header(name, value));
        let answer = if self.body.is_empty() { answer } else { answer.body(&self.body) };
        let answer = self.chunks.iter().fold(answer, Answer::chunk);
        let answer = self.trailers.iter().fold(answer, |answer, (name, value)| answer.trailer(name, value));
        let answer = match self.outcome {
            Outcome::Cut => answer.cut(),
            Outcome::Stall => answer.stall(),
            _ => answer,
        };
        answer.after(Duration::from_millis(self.delay_ms))
    }
}
