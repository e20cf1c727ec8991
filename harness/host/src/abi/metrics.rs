//! Counters, gauges and histograms.

use super::cx::{Cx, Done};
use crate::codes::{MetricKind, Status};
use crate::world::Arg;

/// Ids carry the metric's kind in their lowest bits, as in Envoy.
const ID_STEP: u32 = 4;

fn kind_of(id: u32) -> Result<MetricKind, Status> {
    MetricKind::from_code(id % ID_STEP).ok_or(Status::BadArgument)
}

/// The metric behind an id. Unknown ids are not found, ids of no kind are bad arguments.
fn metric(cx: &mut Cx<'_, '_>, id: u32) -> Result<(MetricKind, String), Status> {
    let found = cx.state().metrics.get(&id).cloned();
    match &found {
        Some((_, name)) => {
            let name = name.clone();
            cx.argument(Arg::Name(&name));
        }
        None => cx.argument(Arg::Number(id.into())),
    }
    found.ok_or(Status::NotFound)
}

pub(super) fn define(cx: &mut Cx<'_, '_>, kind: u32, name: u32, len: u32, id: u32) -> Done {
    let kind = MetricKind::from_code(kind).ok_or(Status::BadArgument)?;
    let name = cx.read_text(name, len)?;
    cx.argument(Arg::Name(kind.name()));
    cx.argument(Arg::Bytes(name.as_bytes()));
    let state = cx.state_mut();
    let slot = state.next_metric.get_mut(kind as usize).ok_or(Status::InternalFailure)?;
    let number = *slot;
    *slot += ID_STEP;
    state.world.lock().metrics.define(kind, &name);
    state.metrics.insert(number, (kind, name));
    cx.result(Arg::Number(number.into()));
    Ok(cx.write_u32(id, number)?)
}

pub(super) fn increment(cx: &mut Cx<'_, '_>, id: u32, offset: i64) -> Done {
    if kind_of(id)? == MetricKind::Histogram {
        cx.misuse("a histogram cannot be incremented");
        return Err(Status::BadArgument.into());
    }
    let (kind, name) = metric(cx, id)?;
    cx.argument(Arg::Signed(offset));
    if kind == MetricKind::Counter && offset <= 0 {
        cx.misuse("a counter's increment must be above zero");
    }
    let result = cx.state().world.lock().metrics.increment(kind, &name, offset);
    Ok(result?)
}

pub(super) fn record(cx: &mut Cx<'_, '_>, id: u32, value: u64) -> Done {
    let (kind, name) = metric(cx, id)?;
    cx.argument(Arg::Number(value));
    let result = cx.state().world.lock().metrics.record(kind, &name, value);
    Ok(result?)
}

pub(super) fn get(cx: &mut Cx<'_, '_>, id: u32, value: u32) -> Done {
    if kind_of(id)? == MetricKind::Histogram {
        return Err(Status::BadArgument.into());
    }
    let (kind, name) = metric(cx, id)?;
    let number = cx.state().world.lock().metrics.read(kind, &name)?;
    cx.result(Arg::Number(number));
    Ok(cx.write_u64(value, number)?)
}
