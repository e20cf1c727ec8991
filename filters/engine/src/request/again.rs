//! A stream that is open is looked at again: it goes on, or it ends.

use portcullis_model::config::Mode;
use portcullis_model::{Decision, Reason, Refusal};

use super::phase::{Open, Phase, Request};
use crate::open::Grounds;
use crate::plugin::Instance;
use crate::port::{Severity, Stream};
use crate::reply::{self, Form, Manner};
use crate::stage::Again;

/// Time after which a stream is looked at again that could not be judged or ended, in milliseconds.
const RETRY_MS: u64 = 1_000;

impl Request {
    /// Looks again at a request that was let on.
    pub(super) fn look_again(&mut self, stream: &dyn Stream) {
        let (Some(open), Some(instance)) = (self.open, self.instance.clone()) else { return };
        match self.judge_again(stream, &instance, open) {
            Ok(now_ms) => {
                if open.record_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                    self.open = Some(Open { record_at_ms: None, ..open });
                    self.record_opening(stream, &instance);
                }
            }
            Err(refusal) => {
                self.end_stream(stream, &instance, refusal);
            }
        }
    }

    /// Whether the stream may go on; gives the monotonic clock in milliseconds.
    fn judge_again(&self, stream: &dyn Stream, instance: &Instance, open: Open) -> Result<u64, Refusal> {
        let internal = || self.refusal(Reason::Internal);
        let (plugin, worker) = (&*instance.plugin, &*instance.worker);
        let exchange = self.exchange.as_ref().ok_or_else(internal)?;
        let mut exchange = exchange.try_borrow_mut().map_err(|_| internal())?;
        let policy = worker.source.policy.read();
        let mut link = worker.link.lock();
        link.read_clock(stream);
        let now_ms = link.now_ms;
        // A plugin that only records ends nothing.
        let too_old_at_ms = policy.too_old_for_streams_at(&worker.source.config, plugin.config.streams);
        if plugin.decides && now_ms > too_old_at_ms {
            return Err(Refusal::new("gateway", Reason::SnapshotStale));
        }
        if plugin.decides && policy.usable(now_ms, &worker.source.config).is_err() {
            link.open.postpone(open.id, now_ms.saturating_add(RETRY_MS));
            return Ok(now_ms);
        }
        let wall_ms = stream.wall_clock_ns().map_err(|_| internal())? / 1_000_000;
        let mut grounds = Grounds::default();
        if let Some(at_ms) = open.record_at_ms.filter(|at_ms| *at_ms > now_ms) {
            grounds.look_at(at_ms);
        }
        if plugin.decides {
            grounds.look_at(too_old_at_ms.saturating_add(1));
        }
        let mut again = Again {
            stream,
            config: &plugin.config,
            snapshot: &policy.snapshot,
            link: &mut link,
            exchange: &mut exchange,
            grounds,
            wall_ms,
        };
        for stage in &plugin.stages.all {
            stage.look_again(&mut again).map_err(|reason| Refusal::new(stage.name(), reason))?;
        }
        let grounds = again.grounds;
        link.open.keep(open.id, &grounds);
        Ok(now_ms)
    }

    fn record_opening(&self, stream: &dyn Stream, instance: &Instance) {
        let Some(Ok(exchange)) = self.exchange.as_ref().map(|exchange| exchange.try_borrow()) else { return };
        let ending = self.ending(stream, instance, &exchange);
        instance.plugin.stages.recording.iter().for_each(|stage| stage.on_open(&ending));
    }

    /// Ends the stream: by an answer where none has begun, else by a reset. In dry-run that is only noted. True if
    /// it has ended.
    pub(super) fn end_stream(&mut self, stream: &dyn Stream, instance: &Instance, refusal: Refusal) -> bool {
        let enforced = instance.plugin.config.mode == Mode::Enforce;
        let note = |answered: bool| {
            if let Some(Ok(mut exchange)) = self.exchange.as_ref().map(|exchange| exchange.try_borrow_mut()) {
                exchange.decision = Decision::End(refusal.clone());
                exchange.answered |= answered;
            }
        };
        note(false);
        if !enforced {
            self.no_longer_open();
            return false;
        }
        let form = self.open.map_or(Form::Problem, |open| open.form);
        let manner = Manner { form, ..Manner::blind() };
        match self.send(stream, reply::refusal(&refusal, &manner)) {
            Ok(()) => {
                note(true);
                self.no_longer_open();
                self.phase = Phase::Answered;
                true
            }
            Err(error) => {
                stream.log(Severity::Error, &format!("a stream could not be ended: {error}"));
                let mut link = instance.worker.link.lock();
                let at_ms = link.now_ms.saturating_add(RETRY_MS);
                if let Some(open) = self.open {
                    link.open.postpone(open.id, at_ms);
                }
                false
            }
        }
    }

    /// It is not watched any more.
    pub(super) fn no_longer_open(&mut self) {
        if let (Some(open), Some(instance)) = (self.open.take(), &self.instance) {
            instance.worker.link.lock().open.end(open.id);
        }
    }
}
