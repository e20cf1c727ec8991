//! What the log says of something that is done again and again: that it begins to fail, that it fails otherwise, that it
//! works again.

use std::fmt::Display;

use portcullis_model::outage::Outage;

/// The words about one thing, and what was said of it last.
#[derive(Debug)]
pub struct OutageLog {
    outage: Outage,
    fails: &'static str,
    works_again: &'static str,
}

impl OutageLog {
    /// Of something that works so far.
    #[must_use]
    pub fn new(fails: &'static str, works_again: &'static str) -> Self {
        Self { outage: Outage::default(), fails, works_again }
    }

    /// Notes how one try ended.
    pub fn note<E: Display>(&mut self, failure: Option<&E>) {
        match failure {
            Some(error) => self.failed(error),
            None => self.worked(),
        }
    }

    /// Notes that a try failed. The same again is no news.
    pub fn failed(&mut self, error: &impl Display) {
        let error = error.to_string();
        if self.outage.failed(&error, || true) {
            tracing::error!(error, "{}", self.fails);
        }
    }

    /// Notes that a try was good.
    pub fn worked(&mut self) {
        if let Some(failures) = self.outage.over() {
            tracing::info!(failures, "{}", self.works_again);
        }
    }
}
