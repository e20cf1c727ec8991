//! What becomes of callouts.

use std::time::Duration;

use super::call::{Call, CallKind, CallStart, CallState};
use super::clock::{CallEnd, Event};
use super::state::State;
use crate::flow::grpc_from_http;
use crate::message::{Answer, Outcome, Request};

/// How many names of clusters are kept that there are not: a module may make up as many as it likes.
const MAX_UNKNOWN: usize = 64;

/// The gRPC status of a call that got no answer, one that timed out included.
const UNAVAILABLE: u32 = 14;

impl State {
    /// Sends a call to its cluster's script. `false` if there is no such cluster.
    pub(crate) fn dispatch(&mut self, cluster: &str, start: CallStart, request: Request) -> bool {
        let Some(upstream) = self.clusters.get_mut(cluster) else {
            if self.unknown_clusters.len() < MAX_UNKNOWN
                && !self.unknown_clusters.iter().any(|c| c == cluster)
            {
                self.unknown_clusters.push(cluster.to_owned());
            }
            return false;
        };
        let answer = upstream.next_answer(&request);
        self.calls.push(Call {
            id: start.id,
            kind: start.kind,
            cluster: cluster.to_owned(),
            request,
            timeout: start.timeout,
            vm: start.vm,
            at: self.clock.elapsed(),
            state: CallState::Pending,
        });
        match answer {
            Some(answer) => self.schedule_answer(start, answer),
            None => {
                if !start.timeout.is_zero() {
                    let end = timed_out(&start);
                    self.schedule_end(&start, start.timeout, end);
                }
                self.held.insert(start.id, start);
            }
        }
        true
    }

    pub(crate) fn schedule_answer(&mut self, start: CallStart, answer: Answer) {
        let spent = self.clock.elapsed().saturating_sub(start.started);
        let left = start.timeout.saturating_sub(spent);
        let never = matches!(answer.outcome, Outcome::Never | Outcome::Stalled);
        if !start.timeout.is_zero() && (never || answer.delay >= left) {
            let begun = answer.outcome == Outcome::Stalled && answer.delay < left;
            let end = if begun { ended(&start, answer) } else { timed_out(&start) };
            self.schedule_end(&start, left, end);
        } else if !never {
            let delay = answer.delay;
            let end = ended(&start, answer);
            self.schedule_end(&start, delay, end);
        }
    }

    fn schedule_end(&mut self, start: &CallStart, after: Duration, end: CallEnd) {
        let CallStart { vm, instance, root, token, .. } = *start;
        self.clock.schedule(after, Event::CallEnd { vm, instance, root, token, end });
    }

    /// Marks a call as over. `false` if it was over before.
    pub(crate) fn finish_call(&mut self, id: u64, state: CallState) -> bool {
        self.held.remove(&id);
        match self.calls.iter_mut().find(|call| call.id == id && call.state == CallState::Pending) {
            Some(call) => {
                call.state = state;
                true
            }
            None => false,
        }
    }
}

fn timed_out(start: &CallStart) -> CallEnd {
    match start.kind {
        CallKind::Http => {
            let answer =
                Answer::status(504).header("content-type", "text/plain").body("upstream request timeout");
            ended(start, answer)
        }
        CallKind::Grpc => {
            let reason = with_details("upstream request timeout", "response_timeout");
            CallEnd::Grpc { id: start.id, message: None, status: UNAVAILABLE, reason }
        }
    }
}

/// What Envoy's own client answers in place of a service that it cannot reach.
pub(crate) fn unreachable(reason: &str) -> Answer {
    const PREFIX: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";
    Answer::status(503).header("content-type", "text/plain").body([PREFIX, reason].concat())
}

/// Envoy appends to a gRPC error where it comes from.
fn with_details(message: &str, details: &str) -> String {
    if message.is_empty() { details.to_owned() } else { format!("{message}{{{details}}}") }
}

fn ended(start: &CallStart, answer: Answer) -> CallEnd {
    let id = start.id;
    match (start.kind, answer.outcome) {
        (CallKind::Http, Outcome::Answered) => {
            let body = answer.body.concat();
            let mut headers = answer.headers;
            if !body.is_empty() && headers.get_bytes("content-length").is_none() && answer.trailers.is_empty()
            {
                headers.add("content-length", body.len().to_string());
            }
            let trailers = (!answer.trailers.is_empty()).then_some(answer.trailers);
            CallEnd::Http { id, headers, body, trailers }
        }
        (CallKind::Http, Outcome::Refused) => ended(start, unreachable("remote connection failure")),
        (CallKind::Http, Outcome::Reset) => ended(start, unreachable("connection termination")),
        (CallKind::Http, _) => CallEnd::HttpReset { id },
        (CallKind::Grpc, Outcome::Answered) => {
            let field = |name: &str| answer.trailers.get(name).or_else(|| answer.headers.get(name));
            let http = answer.headers.get(":status").and_then(|status| status.parse().ok()).unwrap_or(200);
            let mapped = if http == 200 { 0 } else { grpc_from_http(http).cast_unsigned() };
            let status = field("grpc-status").and_then(|status| status.parse().ok()).unwrap_or(mapped);
            let reason = with_details(field("grpc-message").unwrap_or_default(), "via_upstream");
            let message = (status == 0).then(|| answer.body.concat());
            CallEnd::Grpc { id, message, status, reason }
        }
        (CallKind::Grpc, Outcome::Refused) => {
            let details = "upstream_reset_before_response_started{remote_connection_failure|\
                           delayed_connect_error:_Connection_refused}";
            let reason = with_details(&unreachable("remote connection failure").body_text(), details);
            CallEnd::Grpc { id, message: None, status: UNAVAILABLE, reason }
        }
        (CallKind::Grpc, _) => {
            let details = "upstream_reset_before_response_started{connection_termination}";
            let reason = with_details(&unreachable("connection termination").body_text(), details);
            CallEnd::Grpc { id, message: None, status: UNAVAILABLE, reason }
        }
    }
}
