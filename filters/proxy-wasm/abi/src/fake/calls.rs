//! The hostcalls of the proxy in memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::{FakeHost, OwnedHeader, SentCall, SentResponse, State, first, index};
use crate::calls::{Calls, Proxy};
use crate::error::{HostErrorKind, HostResult};
use crate::host::{Block, Header, Host, HttpCall, LocalResponse, SharedValue};
use crate::pairs;
use crate::types::{BufferType, CallToken, Cas, ContextId, LogLevel, MapType, MetricId, MetricType, QueueId};

/// What Envoy's WASI layer gives at most in one call.
const RANDOM_LIMIT: usize = 64 * 1024;

impl State {
    fn map(&mut self, map: MapType) -> &mut Vec<OwnedHeader> {
        self.maps.entry(map as u32).or_default()
    }
}

impl Proxy for FakeHost {
    fn calls(&self) -> &Calls {
        &self.calls
    }
}

impl Host for FakeHost {
    fn log(&self, level: LogLevel, message: &str) {
        self.state.borrow_mut().logs.push((level, message.to_owned()));
    }

    fn now(&self) -> HostResult<u64> {
        self.cross("clock_time_get")?;
        Ok(self.state.borrow().wall)
    }

    fn monotonic(&self) -> HostResult<u64> {
        self.cross("clock_time_get")?;
        Ok(self.state.borrow().monotonic)
    }

    fn random(&self, out: &mut [u8]) -> HostResult<()> {
        self.cross("random_get")?;
        if out.len() > RANDOM_LIMIT {
            return Err(HostErrorKind::Other(28).of("random_get"));
        }
        let mut state = self.state.borrow_mut();
        for byte in out {
            // splitmix64: reproducible, which is what a test wants of it.
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed >> 56) as u8;
        }
        Ok(())
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        self.state.borrow().env.get(name).cloned()
    }

    fn header_block(&self, map: MapType, _reuse: Vec<u8>) -> HostResult<Block> {
        const CALL: &str = "get_header_map_pairs";
        self.cross(CALL)?;
        let headers = self.headers(map);
        let headers: Vec<Header<'_>> = headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        pairs::encode(&headers).map(Block::from).map_err(|fault| fault.of(CALL))
    }

    fn header(&self, map: MapType, name: &str) -> HostResult<Option<Vec<u8>>> {
        self.cross("get_header_map_value")?;
        let mut state = self.state.borrow_mut();
        Ok(first(state.map(map), name.as_bytes()).map(<[u8]>::to_vec))
    }

    fn add_header(&self, map: MapType, name: &str, value: &[u8]) -> HostResult<()> {
        self.cross("add_header_map_value")?;
        let mut state = self.state.borrow_mut();
        let name = name.to_ascii_lowercase().into_bytes();
        state.map(map).push((name, value.to_vec()));
        Ok(())
    }

    fn replace_header(&self, map: MapType, name: &str, value: &[u8]) -> HostResult<()> {
        self.cross("replace_header_map_value")?;
        let mut state = self.state.borrow_mut();
        let name = name.to_ascii_lowercase().into_bytes();
        let headers = state.map(map);
        headers.retain(|(n, _)| *n != name);
        headers.push((name, value.to_vec()));
        Ok(())
    }

    fn remove_header(&self, map: MapType, name: &[u8]) -> HostResult<()> {
        self.cross("remove_header_map_value")?;
        let name = name.to_ascii_lowercase();
        self.state.borrow_mut().map(map).retain(|(n, _)| *n != name);
        Ok(())
    }

    fn set_pairs(&self, map: MapType, pairs: &[Header<'_>]) -> HostResult<()> {
        self.cross("set_header_map_pairs")?;
        *self.state.borrow_mut().map(map) = owned(pairs);
        Ok(())
    }

    fn property(&self, path: &[&str]) -> HostResult<Option<Vec<u8>>> {
        self.cross("get_property")?;
        Ok(self.state.borrow().properties.get(&path.join("\0")).cloned())
    }

    fn set_property(&self, path: &[&str], value: &[u8]) -> HostResult<()> {
        self.cross("set_property")?;
        self.give_property(path, value);
        Ok(())
    }

    fn buffer(&self, buffer: BufferType, start: usize, max: usize) -> HostResult<Vec<u8>> {
        self.cross("get_buffer_bytes")?;
        let state = self.state.borrow();
        let bytes = state.buffers.get(&(buffer as u32)).map_or(&[][..], |b| b);
        let part = bytes.get(start..).unwrap_or_default();
        Ok(part.get(..max).unwrap_or(part).to_vec())
    }

    fn send_local_response(&self, response: &LocalResponse<'_>) -> HostResult<()> {
        self.cross("send_local_response")?;
        let mut state = self.state.borrow_mut();
        let sent = SentResponse {
            context: self.calls.current(),
            status: response.status,
            details: response.details.to_owned(),
            headers: owned(response.headers),
            body: response.body.to_vec(),
            grpc_status: response.grpc_status,
        };
        state.responses.push(sent);
        Ok(())
    }

    fn resume_http_request(&self) -> HostResult<()> {
        self.cross("continue_stream")?;
        let mut state = self.state.borrow_mut();
        let context = self.calls.current();
        state.resumed.push(context);
        Ok(())
    }

    fn http_call(&self, call: &HttpCall<'_>) -> HostResult<CallToken> {
        const CALL: &str = "http_call";
        self.cross(CALL)?;
        let mut state = self.state.borrow_mut();
        let known = match &state.known_upstreams {
            Some(known) => known.contains(call.upstream),
            None => true,
        };
        let headers = owned(call.headers);
        let complete =
            [":method", ":path", ":authority"].iter().all(|name| first(&headers, name.as_bytes()).is_some());
        if !known || !complete {
            return Err(HostErrorKind::BadArgument.of(CALL));
        }
        state.next_token += 1;
        let sent = SentCall {
            context: self.calls.current(),
            token: CallToken(state.next_token),
            upstream: call.upstream.to_owned(),
            headers,
            body: call.body.to_vec(),
            trailers: owned(call.trailers),
            timeout: call.timeout,
        };
        let token = sent.token;
        state.calls.push(sent);
        self.calls.sent(token);
        Ok(token)
    }

    fn shared_data(&self, key: &str) -> HostResult<Option<SharedValue>> {
        self.cross("get_shared_data")?;
        let process = self.process.borrow();
        let value = process.data.get(key);
        Ok(value.map(|(data, cas)| SharedValue { data: data.clone(), cas: Cas(*cas) }))
    }

    fn set_shared_data(&self, key: &str, value: &[u8], cas: Option<Cas>) -> HostResult<()> {
        const CALL: &str = "set_shared_data";
        self.cross(CALL)?;
        let mut process = self.process.borrow_mut();
        let version = process.data.get(key).map(|(_, version)| *version);
        // Version 0 and an unset key overwrite, as in Envoy.
        if let (Some(Cas(expected)), Some(version)) = (cas, version)
            && expected != 0
            && expected != version
        {
            return Err(HostErrorKind::CasMismatch.of(CALL));
        }
        let version = version.unwrap_or(0) + 1;
        process.data.insert(key.to_owned(), (value.to_vec(), version));
        Ok(())
    }

    fn register_queue(&self, name: &str) -> HostResult<QueueId> {
        self.cross("register_shared_queue")?;
        let mut process = self.process.borrow_mut();
        let at = match process.queues.iter().position(|(n, _)| n == name) {
            Some(at) => at,
            None => {
                process.queues.push((name.to_owned(), VecDeque::new()));
                process.queues.len() - 1
            }
        };
        Ok(QueueId(id(at)))
    }

    fn resolve_queue(&self, _vm_id: &str, name: &str) -> HostResult<Option<QueueId>> {
        self.cross("resolve_shared_queue")?;
        let process = self.process.borrow();
        let at = process.queues.iter().position(|(n, _)| n == name);
        Ok(at.map(|at| QueueId(id(at))))
    }

    fn enqueue(&self, queue: QueueId, value: &[u8]) -> HostResult<()> {
        const CALL: &str = "enqueue_shared_queue";
        self.cross(CALL)?;
        let mut process = self.process.borrow_mut();
        match index(queue.0).and_then(|at| process.queues.get_mut(at)) {
            Some((_, entries)) => entries.push_back(value.to_vec()),
            None => return Err(HostErrorKind::NotFound.of(CALL)),
        }
        Ok(())
    }

    fn dequeue(&self, queue: QueueId) -> HostResult<Option<Vec<u8>>> {
        const CALL: &str = "dequeue_shared_queue";
        self.cross(CALL)?;
        let mut process = self.process.borrow_mut();
        match index(queue.0).and_then(|at| process.queues.get_mut(at)) {
            Some((_, entries)) => Ok(entries.pop_front()),
            None => Err(HostErrorKind::NotFound.of(CALL)),
        }
    }

    fn set_tick_period(&self, period: Duration) -> HostResult<()> {
        self.cross("set_tick_period_milliseconds")?;
        self.state.borrow_mut().tick = (!period.is_zero()).then_some(period);
        Ok(())
    }

    fn define_metric(&self, kind: MetricType, name: &str) -> HostResult<MetricId> {
        self.cross("define_metric")?;
        let mut state = self.state.borrow_mut();
        let at = match state.metrics.iter().position(|(n, ..)| n == name) {
            Some(at) => at,
            None => {
                state.metrics.push((name.to_owned(), kind, 0));
                state.metrics.len() - 1
            }
        };
        Ok(MetricId(id(at)))
    }

    fn increment_metric(&self, metric: MetricId, offset: i64) -> HostResult<()> {
        const CALL: &str = "increment_metric";
        self.cross(CALL)?;
        let mut state = self.state.borrow_mut();
        match index(metric.0).and_then(|at| state.metrics.get_mut(at)) {
            Some((_, MetricType::Counter, _)) if offset <= 0 => Err(HostErrorKind::BadArgument.of(CALL)),
            Some((_, MetricType::Histogram, _)) => Err(HostErrorKind::BadArgument.of(CALL)),
            Some((_, _, value)) => {
                *value = value.saturating_add(offset);
                Ok(())
            }
            None => Err(HostErrorKind::NotFound.of(CALL)),
        }
    }

    fn record_metric(&self, metric: MetricId, recorded: u64) -> HostResult<()> {
        const CALL: &str = "record_metric";
        self.cross(CALL)?;
        let mut state = self.state.borrow_mut();
        match index(metric.0).and_then(|at| state.metrics.get_mut(at)) {
            Some((_, _, value)) => *value = i64::try_from(recorded).unwrap_or(i64::MAX),
            None => return Err(HostErrorKind::NotFound.of(CALL)),
        }
        Ok(())
    }

    fn call_foreign(&self, function: &str, arguments: &[u8]) -> HostResult<Vec<u8>> {
        const CALL: &str = "call_foreign_function";
        self.cross(CALL)?;
        let mut state = self.state.borrow_mut();
        state.foreign_calls.push((function.to_owned(), arguments.to_vec()));
        let found = state.foreign.get(function).cloned();
        // Released first: the function is the test's and may look at this host.
        drop(state);
        let function = found.ok_or(HostErrorKind::NotFound.of(CALL))?;
        function(arguments).map_err(|fault| fault.of(CALL))
    }

    fn set_effective_context(&self, context: ContextId) -> HostResult<()> {
        const CALL: &str = "set_effective_context";
        self.cross(CALL)?;
        let state = self.state.borrow();
        if state.gone.contains(&context.0) {
            return Err(HostErrorKind::BadArgument.of(CALL));
        }
        drop(state);
        self.calls.enter(context);
        Ok(())
    }

    fn done(&self) -> HostResult<()> {
        self.cross("done")?;
        self.state.borrow_mut().done += 1;
        Ok(())
    }
}

fn owned(headers: &[Header<'_>]) -> Vec<OwnedHeader> {
    headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect()
}

fn id(at: usize) -> u32 {
    u32::try_from(at).map_or(u32::MAX, |at| at.saturating_add(1))
}
