//! One hostcall under way: memory access, trace, faults, misuse.

use std::cell::Cell;
use std::collections::BTreeSet;

use wasmtime::{Caller, Memory};

use crate::codes::Status;
use crate::error::{FailureKind, HostFault};
use crate::headers::HeaderMap;
use crate::pairs;
use crate::state::VmState;
use crate::world::{Arg, Effect, Entry, Hostcall, Misuse};

/// The imports that the host offers, as (module, name).
pub(crate) type Offered = BTreeSet<(&'static str, &'static str)>;

/// How a hostcall fails: with an answer to the module, or by killing it.
#[derive(Debug)]
pub(crate) enum Fail {
    Status(Status),
    Trap(wasmtime::Error),
}

impl From<Status> for Fail {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<wasmtime::Error> for Fail {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

pub(crate) type Done<T = ()> = Result<T, Fail>;

/// A hostcall's view of its module.
pub(crate) struct Cx<'a, 'b> {
    caller: &'a mut Caller<'b, VmState>,
    pub(crate) name: &'static str,
    entry: Option<Entry>,
    /// A limit of the host was passed: the module dies when the call is over.
    exhausted: Cell<Option<HostFault>>,
}

/// Runs a Proxy-Wasm hostcall: faults first, then the call, then the trace.
pub(crate) fn run(
    caller: &mut Caller<'_, VmState>,
    name: &'static str,
    body: impl FnOnce(&mut Cx<'_, '_>) -> Done,
) -> wasmtime::Result<u32> {
    let state = caller.data_mut();
    state.hostcalls += 1;
    if state.restricted && name != "proxy_log" {
        return Err(restricted(name));
    }
    state.world.spent.call(&state.world.limits)?;
    let entry = state.world.tracing.then(Entry::default);
    if let Some(effect) = state.world.faults.check(name, state.callback, state.vm) {
        return inject(state, name, effect);
    }
    let mut cx = Cx { caller, name, entry, exhausted: Cell::new(None) };
    let result = body(&mut cx);
    let (status, trap) = match (cx.exhausted.take(), result) {
        (Some(fault), _) => (None, Some(fault.into())),
        (None, Ok(())) => (Some(Status::Ok), None),
        (None, Err(Fail::Status(status))) => (Some(status), None),
        (None, Err(Fail::Trap(error))) => (None, Some(error)),
    };
    cx.record(status);
    match trap {
        Some(error) => Err(error),
        None => Ok(status.unwrap_or(Status::Ok).code()),
    }
}

/// Envoy kills a module that calls anything else while `_initialize` runs.
fn restricted(name: &'static str) -> wasmtime::Error {
    let message = format!("{name} was called while the module starts; only logging is allowed there");
    HostFault { kind: FailureKind::Restricted, message }.into()
}

fn inject(state: &VmState, name: &'static str, effect: Effect) -> wasmtime::Result<u32> {
    let (status, kind) = match effect {
        Effect::Status(status) => (Some(status), FailureKind::Injected),
        Effect::Trap => (None, FailureKind::Injected),
        Effect::OutOfFuel => (None, FailureKind::OutOfFuel),
    };
    if state.world.tracing {
        push(
            state,
            name,
            Entry { arguments: vec!["injected fault".to_owned()], results: Vec::new() },
            status,
        );
    }
    match status {
        Some(status) => Ok(status.code()),
        None => Err(HostFault { kind, message: format!("injected at {name}") }.into()),
    }
}

fn push(state: &VmState, name: &'static str, entry: Entry, status: Option<Status>) {
    let (vm, context, callback) = (state.vm, state.context_id(), state.callback);
    let mut world = state.world.lock();
    let at = world.clock.elapsed();
    let exchange = state.contexts.get(&context).and_then(|context| context.exchange);
    let Entry { arguments, results } = entry;
    world.trace.push(Hostcall { at, vm, context, exchange, callback, name, arguments, results, status });
}

impl<'a, 'b> Cx<'a, 'b> {
    /// A call of WASI: no faults, no restrictions, and a number of its own kind as answer.
    pub(super) fn wasi(
        caller: &'a mut Caller<'b, VmState>,
        name: &'static str,
        body: impl FnOnce(&mut Self) -> u32,
    ) -> wasmtime::Result<u32> {
        let world = &caller.data().world;
        world.spent.call(&world.limits)?;
        let entry = world.tracing.then(Entry::default);
        let mut cx = Self { caller, name, entry, exhausted: Cell::new(None) };
        let answer = body(&mut cx);
        match cx.exhausted.take() {
            None => {
                cx.record(Some(Status::Ok));
                Ok(answer)
            }
            Some(fault) => {
                cx.record(None);
                Err(fault.into())
            }
        }
    }

    /// Counts bytes that cross between the module and the host.
    fn charge(&self, bytes: u32) -> Result<(), Status> {
        let world = &self.state().world;
        world.spent.bytes(bytes, &world.limits).map_err(|fault| {
            self.exhausted.set(Some(fault));
            Status::InternalFailure
        })
    }

    pub(crate) fn record(&mut self, status: Option<Status>) {
        if let Some(entry) = self.entry.take() {
            push(self.caller.data(), self.name, entry, status);
        }
    }

    pub(crate) fn state(&self) -> &VmState {
        self.caller.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut VmState {
        self.caller.data_mut()
    }

    /// Notes an argument in the trace.
    pub(crate) fn argument(&mut self, argument: Arg<'_>) {
        if let Some(entry) = &mut self.entry {
            entry.arguments.push(argument.to_string());
        }
    }

    /// Notes a result in the trace.
    pub(crate) fn result(&mut self, result: Arg<'_>) {
        if let Some(entry) = &mut self.entry {
            entry.results.push(result.to_string());
        }
    }

    /// Notes that the ABI does not allow this call here.
    pub(crate) fn misuse(&self, reason: impl Into<String>) {
        let state = self.state();
        let misuse = Misuse {
            reason: reason.into(),
            vm: state.vm,
            context: state.context_id(),
            callback: state.callback,
            name: self.name,
        };
        state.world.lock().misuse.push(misuse);
    }

    fn memory(&self) -> Result<Memory, Status> {
        self.caller.data().memory.ok_or(Status::InvalidMemoryAccess)
    }

    /// Bytes of the module's memory.
    pub(crate) fn read(&self, at: u32, len: u32) -> Result<Vec<u8>, Status> {
        self.charge(len)?;
        let memory = self.memory()?.data(&*self.caller);
        let range = range(at, len).ok_or(Status::InvalidMemoryAccess)?;
        memory.get(range).map(<[u8]>::to_vec).ok_or(Status::InvalidMemoryAccess)
    }

    pub(crate) fn read_text(&self, at: u32, len: u32) -> Result<String, Status> {
        self.read(at, len).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A serialised map. Malformed ones are empty, as in Envoy.
    pub(crate) fn read_pairs(&self, at: u32, len: u32) -> Result<HeaderMap, Status> {
        let bytes = self.read(at, len)?;
        if bytes.is_empty() {
            return Ok(HeaderMap::new());
        }
        match pairs::decode(&bytes) {
            Some(pairs) => Ok(pairs.into_iter().collect()),
            None => {
                self.misuse("the serialised map is malformed or too big; Envoy takes it as empty");
                Ok(HeaderMap::new())
            }
        }
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Status> {
        let memory = self.memory()?.data_mut(&mut *self.caller);
        let len = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
        let range = range(at, len).ok_or(Status::InvalidMemoryAccess)?;
        memory.get_mut(range).ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Status> {
        self.write(at, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Status> {
        self.write(at, &value.to_le_bytes())
    }

    /// Hands bytes to the module in memory that the module allocates for them.
    pub(crate) fn give(&mut self, bytes: &[u8], pointer_at: u32, size_at: u32) -> Done {
        let size = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
        self.charge(size)?;
        let mut pointer = 0;
        if size != 0 {
            pointer = self.allocate(size)?;
            self.write(pointer, bytes)?;
        }
        self.write_u32(pointer_at, pointer)?;
        self.write_u32(size_at, size)?;
        Ok(())
    }

    fn allocate(&mut self, size: u32) -> Done<u32> {
        let malloc = self.state().malloc.clone().ok_or(Status::InternalFailure)?;
        let pointer = malloc.call(&mut *self.caller, (size.cast_signed(),))?.cast_unsigned();
        if pointer == 0 { Err(Status::InvalidMemoryAccess.into()) } else { Ok(pointer) }
    }
}

fn range(at: u32, len: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(at).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}
