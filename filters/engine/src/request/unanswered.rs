//! A request that was let on, and that nobody answered.

use portcullis_model::{Reason, Refusal};
use portcullis_protocol::scan::same;

use super::{Request, Verdict};
use crate::port::{OutcomeWanted, Stream};
use crate::reply::{Form, REASON_HEADER};

/// Whether a header of a response says that a proxy between this one and the Data API got no answer from there: a
/// tunnel gateway, a tunnel agent, a sidecar with the module. It counts on a failure only: a Data API must not make
/// a request that it has served look like one that never came to it.
pub(super) fn is_told(name: &[u8], value: &[u8]) -> bool {
    same(name, REASON_HEADER.as_bytes()) && value == Reason::ClusterUnreachable.code().as_bytes()
}

impl Request {
    /// Looks at a response's headers: was there an answer at all?
    pub(super) fn look_at_answer(&mut self, stream: &dyn Stream, told: bool, end_of_stream: bool) -> Verdict {
        // To a client of gRPC the proxy says that it failed with the status 200.
        let of_grpc = || self.open.is_some_and(|open| open.form == Form::Grpc);
        let failed = matches!(self.response.status, Some(502..=504)) || end_of_stream && of_grpc();
        if failed { self.look_at_failure(stream, told) } else { Verdict::Continue }
    }

    /// Ends a request that nobody answered by a refusal of ours, so that its caller and its record have the reason.
    fn look_at_failure(&mut self, stream: &dyn Stream, told: bool) -> Verdict {
        let told = self.was_told(told);
        let Some(instance) = self.instance.clone().filter(|_| self.open.is_some()) else {
            return Verdict::Continue;
        };
        let mut stages = instance.plugin.stages.all.iter();
        let refusal = stages.find_map(|stage| Some(Refusal::new(stage.name(), stage.reason_of_no_answer()?)));
        let Some(refusal) =
            refusal.filter(|_| told || stream.outcome(OutcomeWanted::default()).is_unanswered())
        else {
            return Verdict::Continue;
        };
        let status = refusal.reason.status();
        if !self.end_stream(stream, &instance, refusal) {
            return Verdict::Continue;
        }
        self.response.status = Some(status);
        self.response.length = None;
        Verdict::Hold
    }

    /// Whether a header said so, here or at a plugin of ours that saw the response before and took it away.
    fn was_told(&self, told: bool) -> bool {
        let Some(Ok(mut exchange)) = self.exchange.as_ref().map(|exchange| exchange.try_borrow_mut()) else {
            return told;
        };
        exchange.unanswered |= told;
        exchange.unanswered
    }
}
