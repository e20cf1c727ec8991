//! The audit record of a request.

use portcullis_audit::Entry;
use portcullis_host::{Host, LogLevel, MapType};

use crate::exchange::{Decision, Exchange};
use crate::link::Link;
use crate::poll::SharedData;

/// What the plugin saw of the response.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Response {
    /// Status, once the response passed our callback.
    pub(crate) status: Option<u16>,
    /// `content-length`, where there is one.
    pub(crate) length: Option<u64>,
}

/// Writes the record of a request that ended.
pub(crate) fn write(host: &dyn Host, link: &mut Link, exchange: &Exchange, hop: &[u8], response: Response) {
    let sequence = link.journal.next_number();
    let now_ns = host.now().unwrap_or_default();
    let address = host.property(&["source", "address"]).ok().flatten().unwrap_or_default();
    let (stage, reason) = match &exchange.decision {
        Decision::Refuse(refusal) => (refusal.stage, refusal.reason.code()),
        _ => ("", ""),
    };
    let entry = Entry {
        sequence,
        time_ms: now_ns / 1_000_000,
        decision: exchange.decision.as_str(),
        stage,
        reason,
        status: u32::from(response.status.or_else(|| logged_status(host)).unwrap_or_default()),
        response_flags: number(host, &["response", "flags"]),
        duration_us: match exchange.started_ns {
            0 => number(host, &["request", "duration"]) / 1_000,
            started => now_ns.saturating_sub(started) / 1_000,
        },
        cluster: exchange.cluster.as_ref().map(|c| c.as_str()).unwrap_or_default(),
        client_address: std::str::from_utf8(&address).unwrap_or_default(),
        request_bytes: exchange.request_length.unwrap_or_else(|| number(host, &["request", "size"])),
        response_bytes: response.length.unwrap_or_else(|| number(host, &["response", "size"])),
    };
    let identity = exchange.known.as_ref().map(|k| k.audit_part()).unwrap_or_default();
    let kept = link.journal.append(&SharedData(host), sequence, |out| {
        entry.encode(hop, identity, &exchange.audit_part, out);
    });
    if !kept {
        host.log(LogLevel::Error, "an audit record was dropped: too many wait for the control service");
    }
}

fn number(host: &dyn Host, path: &[&str]) -> u64 {
    host.property_i64(path).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
}

/// The status of a response that never passed our response callback.
fn logged_status(host: &dyn Host) -> Option<u16> {
    let value = host.header(MapType::HttpResponseHeaders, ":status").ok().flatten()?;
    std::str::from_utf8(&value).ok()?.parse().ok()
}
