//! The audit stage: a request is let in only where its record can be kept, and leaves one when it ends,
//! however it does.
//!
//! How a record waits and is delivered: [`portcullis_engine::journal`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

use portcullis_engine::meter::Ended;
use portcullis_engine::metrics::Metric;
use portcullis_engine::port::{OutcomeWanted, Severity};
use portcullis_engine::stage::{Admission, Arrival, Ending, Stage};
use portcullis_model::{Reason, Refusal};
use portcullis_protocol::record::Entry;

/// The stage's name.
const STAGE: &str = "audit";

/// What the record of a request says that was let through and lasts: its end is told in another one.
const OPEN: &str = "open";

/// Records every request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Audit;

impl Stage for Audit {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn decides(&self) -> bool {
        false
    }

    fn records(&self) -> bool {
        true
    }

    fn admit(&self, arrival: &mut Arrival<'_>) -> Admission {
        if arrival.backlog {
            return Admission::Refuse(Refusal::new(STAGE, Reason::AuditBacklog));
        }
        Admission::Next
    }

    fn forwards(&self) -> bool {
        false
    }

    fn on_open(&self, ending: &Ending<'_>) {
        let (stream, exchange) = (ending.stream, ending.exchange);
        let now_ns = stream.wall_clock_ns().unwrap_or_default();
        let address = stream.client_address().unwrap_or_default();
        let entry = Entry {
            time_ms: now_ns / 1_000_000,
            decision: OPEN,
            status: u32::from(ending.response.status.unwrap_or_default()),
            duration_us: now_ns.saturating_sub(exchange.started_ns) / 1_000,
            cluster: exchange.cluster().map(|c| c.as_str()).unwrap_or_default(),
            client_address: &address,
            ..Entry::default()
        };
        keep(ending, entry);
    }

    fn on_end(&self, ending: &Ending<'_>) {
        let (stream, exchange, response) = (ending.stream, ending.exchange, ending.response);
        let now_ns = stream.wall_clock_ns().unwrap_or_default();
        let address = stream.client_address().unwrap_or_default();
        let outcome = stream.outcome(OutcomeWanted {
            duration: exchange.started_ns == 0,
            request_bytes: exchange.request_length.is_none(),
            response_bytes: response.length.is_none(),
        });
        let (stage, reason) = exchange.refusal().map_or(("", ""), |r| (r.stage, r.reason.code()));
        let status = response.status.or_else(|| stream.final_status());
        let entry = Entry {
            sequence: 0,
            time_ms: now_ns / 1_000_000,
            decision: exchange.decision.as_str(),
            stage,
            reason,
            status: u32::from(status.unwrap_or_default()),
            response_flags: outcome.flags,
            duration_us: match exchange.started_ns {
                0 => outcome.duration_us,
                started => now_ns.saturating_sub(started) / 1_000,
            },
            cluster: exchange.cluster().map(|c| c.as_str()).unwrap_or_default(),
            client_address: &address,
            request_bytes: exchange.request_length.unwrap_or(outcome.request_bytes),
            response_bytes: response.length.unwrap_or(outcome.response_bytes),
        };
        let entry = keep(ending, entry);
        let mut meter = ending.worker.meter.lock();
        meter.request(
            stream,
            &Ended {
                exchange,
                status,
                duration_us: entry.duration_us,
                request_bytes: entry.request_bytes,
                response_bytes: entry.response_bytes,
            },
        );
    }
}

/// Numbers the record and keeps it.
fn keep<'a>(ending: &Ending<'_>, entry: Entry<'a>) -> Entry<'a> {
    let (stream, exchange) = (ending.stream, ending.exchange);
    let mut courier = ending.worker.courier.lock();
    let entry = Entry { sequence: courier.journal.next_number(), ..entry };
    let identity =
        exchange.known.as_ref().map_or(exchange.refused_part.as_slice(), |known| known.audit_part());
    let kept = courier.journal.append(stream.store(), entry.sequence, |out| {
        entry.encode(ending.hop, identity, &exchange.audit_part, out);
    });
    drop(courier);
    if !kept {
        ending.worker.meter.lock().count(Metric::JournalDropped, 1);
        stream.log(Severity::Error, "an audit record was dropped: too many wait for the control service");
    }
    entry
}
