//! The response to a request that was let on: what an upstream says under our name is taken away, stages see what
//! they kept something for, and where nobody answered the request is ended by a reason of ours.

use portcullis_model::config::{Mode, is_reserved_header};
use portcullis_model::{Reason, Refusal};
use portcullis_protocol::scan::{number, same};

use super::phase::{Phase, Request, Verdict};
use crate::exchange::answer::Answer;
use crate::head::headers::Headers;
use crate::port::{OutcomeWanted, PortResult, Severity, Stream};
use crate::reply::{Form, Manner, REASON_HEADER};

impl Request {
    /// Headers to the client. `end_of_stream`: no body follows.
    pub fn on_response_headers(&mut self, stream: &dyn Stream, end_of_stream: bool) -> Verdict {
        self.response.length = end_of_stream.then_some(0);
        let own = matches!(self.phase, Phase::Answered);
        let seen = match &self.exchange {
            Some(exchange) if !own => exchange.try_borrow().ok().map(|e| (e.answered, !e.kept.is_empty())),
            Some(_) => None,
            // An earlier filter of ours may have answered before this one saw the request.
            None => self.seen(stream).and_then(|e| Some((e.try_borrow().ok()?.answered, false))),
        };
        let (others, kept) = seen.unwrap_or_default();
        let answered = own || others;
        let read = self.read_response(stream, answered);
        let changed = |told| if kept { self.change_response(stream).map(|()| told) } else { Ok(told) };
        match read.and_then(changed) {
            Err(error) if !answered => {
                let line = format!("a response that cannot be cleaned is withheld: {error}");
                stream.log(Severity::Error, &line);
                self.refuse(stream, self.refusal(Reason::Internal), &Manner::blind(), Mode::Enforce)
            }
            Ok(told) if !answered => self.look_at_answer(stream, told, end_of_stream),
            _ => Verdict::Continue,
        }
    }

    /// Notes what the record says of the response, and unless it is `ours` takes away what an upstream says
    /// under our name. True if a proxy on the way says there that nobody answered.
    fn read_response(&mut self, stream: &dyn Stream, ours: bool) -> PortResult<bool> {
        let mut headers = Headers::reused();
        let mut told = false;
        let read = stream.response_headers(&mut headers).and_then(|()| {
            for (name, value) in &headers {
                match name.len() {
                    7 if same(name, b":status") => {
                        self.response.status = number(value).and_then(|status| status.try_into().ok());
                    }
                    14 if same(name, b"content-length") => self.response.length = number(value),
                    _ if !ours && is_reserved_header(name) => {
                        told |= is_told(name, value);
                        stream.remove_response_header(name)?;
                    }
                    _ => {}
                }
            }
            Ok(told)
        });
        headers.done();
        read
    }

    /// Shows a response that passes to the stages. Of a reply of its own a plugin has asked them already.
    fn change_response(&self, stream: &dyn Stream) -> PortResult<()> {
        let exchange = self.exchange.as_ref().and_then(|exchange| exchange.try_borrow().ok());
        exchange.map_or(Ok(()), |exchange| self.ask_stages(&mut Answer::response(&exchange, stream)))
    }

    /// Looks at a response's headers: was there an answer at all?
    fn look_at_answer(&mut self, stream: &dyn Stream, told: bool, end_of_stream: bool) -> Verdict {
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

/// Whether a header of a response says that a proxy between this one and the Data API got no answer from there: a
/// tunnel gateway, a tunnel agent, a sidecar with the module. It counts on a failure only: a Data API must not make
/// a request that it has served look like one that never came to it.
fn is_told(name: &[u8], value: &[u8]) -> bool {
    same(name, REASON_HEADER.as_bytes()) && value == Reason::ClusterUnreachable.code().as_bytes()
}
