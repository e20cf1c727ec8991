//! Stories: chains that change while requests are under way.

use super::case::{Message, Sent, Setup, write_end};

/// Steps that both hosts must take alike.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) first: Setup,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A request that is answered at once.
    Request(Sent),
    /// A request that stays under way; its upstream waits, if it gets that far.
    Begin(Sent),
    /// The upstream answers the requests that are under way.
    Finish,
    /// The listener gets this chain.
    Update(Setup),
    /// The listener goes.
    Remove,
    /// The drain time of what the last update or the removal left behind is over.
    Drain,
    /// The whole proxy ends.
    ShutDown,
}

/// What a step led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whether an update was accepted.
    pub(crate) accepted: Option<bool>,
    /// The requests that ended: what upstream and client saw.
    pub(crate) exchanges: Vec<(Option<Message>, Option<Message>)>,
    /// What was logged, sorted: the main thread and the worker do their parts side by side.
    pub(crate) logs: Vec<String>,
}

impl Step {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Begin(_) => "begin",
            Self::Finish => "finish",
            Self::Update(_) => "update",
            Self::Remove => "remove",
            Self::Drain => "drain",
            Self::ShutDown => "shut down",
        }
    }
}

impl Story {
    pub(crate) fn new(first: Setup) -> Self {
        Self { first, steps: Vec::new() }
    }

    pub(crate) fn request(self, sent: Sent) -> Self {
        self.step(Step::Request(sent))
    }

    /// The script of the request, if it has one of its own, and the upstream that waits.
    pub(crate) fn begin(self, sent: Sent) -> Self {
        self.step(Step::Begin(sent.answer("held")))
    }

    pub(crate) fn finish(self) -> Self {
        self.step(Step::Finish)
    }

    pub(crate) fn update(self, setup: Setup) -> Self {
        self.step(Step::Update(setup))
    }

    pub(crate) fn remove(self) -> Self {
        self.step(Step::Remove)
    }

    pub(crate) fn drain(self) -> Self {
        self.step(Step::Drain)
    }

    pub(crate) fn shut_down(self) -> Self {
        self.step(Step::ShutDown)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The steps, each with its tag: requests carry it.
    pub(crate) fn tagged(&self) -> impl Iterator<Item = (String, Option<Step>)> {
        self.steps.iter().enumerate().map(|(at, step)| {
            let tag = format!("{}-{at}", self.first.name);
            let step = match step.clone() {
                Step::Request(sent) => Step::Request(sent.header("x-case", &tag)),
                Step::Begin(sent) => Step::Begin(sent.header("x-case", &tag)),
                other => other,
            };
            (tag, Some(step))
        })
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(accepted) = self.accepted {
            writeln!(f, "{}", if accepted { "accepted" } else { "refused" })?;
        }
        for (upstream, client) in &self.exchanges {
            write_end(f, "upstream", upstream.as_ref())?;
            write_end(f, "client", client.as_ref())?;
        }
        for line in &self.logs {
            writeln!(f, "log {line}")?;
        }
        Ok(())
    }
}
