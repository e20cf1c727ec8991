//! Scripted services.

use std::collections::VecDeque;
use std::fmt;

use crate::message::{Answer, Request};

type Respond = Box<dyn FnMut(&Request) -> Answer + Send>;

/// A service that answers as the test scripted it: the upstream behind the route, or a cluster that
/// plugins call.
pub struct Upstream {
    script: Script,
}

enum Script {
    Always(Box<Answer>),
    Sequence(VecDeque<Answer>),
    With(Respond),
    Manual,
}

impl Upstream {
    /// The same answer to every request.
    pub fn always(answer: Answer) -> Self {
        Self { script: Script::Always(Box::new(answer)) }
    }

    /// One answer after the other; the last one is repeated. An empty sequence never answers.
    pub fn sequence(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { script: Script::Sequence(answers.into_iter().collect()) }
    }

    /// The answer that `respond` gives for the request.
    pub fn with(respond: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        Self { script: Script::With(Box::new(respond)) }
    }

    /// Requests wait until the test answers them with [`Host::answer`](crate::Host::answer) (callouts)
    /// or [`Host::respond`](crate::Host::respond) (the routed upstream), as a long poll does.
    pub fn manual() -> Self {
        Self { script: Script::Manual }
    }

    /// `None`: the test will answer.
    pub(crate) fn next_answer(&mut self, request: &Request) -> Option<Answer> {
        match &mut self.script {
            Script::Always(answer) => Some(answer.as_ref().clone()),
            Script::Sequence(answers) if answers.len() > 1 => answers.pop_front(),
            Script::Sequence(answers) => Some(answers.front().cloned().unwrap_or_else(Answer::never)),
            Script::With(respond) => Some(respond(request)),
            Script::Manual => None,
        }
    }
}

impl From<Answer> for Upstream {
    fn from(answer: Answer) -> Self {
        Self::always(answer)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.script {
            Script::Always(answer) => f.debug_tuple("Always").field(answer).finish(),
            Script::Sequence(answers) => f.debug_tuple("Sequence").field(answers).finish(),
            Script::With(_) => f.write_str("With(..)"),
            Script::Manual => f.write_str("Manual"),
        }
    }
}
