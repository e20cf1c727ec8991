//! The request's body: read only where a stage asks for it, whole, and within a bound.

use portcullis_model::config::Mode;
use portcullis_model::{Reason, Refusal};

use super::phase::{Arrived, BodyWish, Phase, Request, Verdict};
use crate::port::Stream;
use crate::reply::Manner;

impl Request {
    /// Whether a stage still wants to see the body.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        matches!(&self.phase, Phase::LetOn(wishes) if !wishes.is_empty())
    }

    /// Whether the request was let on and nobody looks at its body: its pieces need not be shown.
    #[must_use]
    pub fn ignores_body(&self) -> bool {
        matches!(&self.phase, Phase::LetOn(wishes) if wishes.is_empty())
    }

    /// Whether a request that waits may turn out to want its body. A proxy that can show a body while it
    /// holds the head does so then.
    #[must_use]
    pub fn may_want_body(&self) -> bool {
        let reads = self.instance.as_ref().is_some_and(|instance| instance.plugin.reads_body);
        reads && !self.arrived.ended && matches!(self.phase, Phase::Undecided(_))
    }

    /// A part of the body came; `length` bytes of it are there. `end_of_stream`: it was the last.
    pub fn on_request_body(&mut self, stream: &dyn Stream, length: usize, end_of_stream: bool) -> Verdict {
        let behind_head = !stream.shows_body_of_held();
        self.arrived = Arrived { length, ended: end_of_stream, behind_head };
        self.look_at_body(stream)
    }

    /// Trailers came: the body ends with what is there.
    pub fn on_request_trailers(&mut self, stream: &dyn Stream) -> Verdict {
        self.arrived.ended = true;
        self.arrived.behind_head = !stream.shows_body_of_held();
        self.look_at_body(stream)
    }

    /// Judges the body as far as it has come.
    pub(super) fn look_at_body(&mut self, stream: &dyn Stream) -> Verdict {
        let wishes = match &mut self.phase {
            Phase::LetOn(wishes) if wishes.is_empty() => return Verdict::Continue,
            Phase::LetOn(wishes) => wishes,
            Phase::Undecided(_) | Phase::Answered => return Verdict::Hold,
        };
        let most = wishes.iter().map(|wish| wish.most).min().unwrap_or_default();
        let Arrived { length, ended, .. } = self.arrived;
        if length <= most && !ended {
            return Verdict::Hold;
        }
        let wishes = std::mem::take(wishes);
        let refused = if length > most {
            Err(self.refusal(Reason::BodyTooLarge))
        } else {
            self.read_body(stream, length, &wishes)
        };
        let Err(refusal) = refused else { return Verdict::Continue };
        self.no_longer_open();
        let mode = self.instance.as_ref().map_or(Mode::Enforce, |i| i.plugin.config.mode);
        let manner = self.manner.take().unwrap_or_else(Manner::blind);
        self.refuse(stream, refusal, &manner, mode)
    }

    fn read_body(&self, stream: &dyn Stream, length: usize, wishes: &[BodyWish]) -> Result<(), Refusal> {
        let internal = || self.refusal(Reason::Internal);
        // Proxies have no buffer for a body of no bytes.
        let body =
            if length == 0 { Vec::new() } else { stream.request_body(length).map_err(|_| internal())? };
        if body.len() != length {
            return Err(internal());
        }
        let instance = self.instance.as_ref().ok_or_else(internal)?;
        let exchange = self.exchange.as_ref().ok_or_else(internal)?;
        let mut exchange = exchange.try_borrow_mut().map_err(|_| internal())?;
        let mut stages = wishes.iter().filter_map(|wish| instance.plugin.stages.deciding.get(wish.stage));
        stages.try_for_each(|stage| stage.on_request_body(&mut exchange, &body))
    }
}
