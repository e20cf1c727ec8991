//! One instance of a module: its store, its exports, and whether it is still alive.

use std::sync::Arc;

use wasmtime::{Store, Trap, TypedFunc, WasmParams, WasmResults};

use crate::codes::{Callback, LogLevel};
use crate::error::{FailureKind, HostFault, StartError, VmFailure};
use crate::exports::Exports;
use crate::plugin::Plugin;
use crate::profile::Profile;
use crate::spec::PluginSpec;
use crate::state::VmState;
use crate::vm_id::VmId;
use crate::world::World;

pub(crate) struct Vm {
    store: Store<VmState>,
    exports: Exports,
    pub(crate) failed: Option<VmFailure>,
    /// The most fuel that one callback used.
    pub(crate) peak_fuel: u64,
    pub(crate) last_fuel: u64,
    /// What each callback has used so far.
    pub(crate) fuel: Vec<FuelUse>,
}

/// The fuel that one callback of a VM has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuelUse {
    /// Which callback.
    pub callback: Callback,
    /// How often it ran.
    pub calls: u64,
    /// Units of fuel in all.
    pub units: u64,
}

impl Vm {
    /// Makes an instance and runs `_initialize` (or `_start`) and `main`.
    pub(crate) fn start(plugin: &Plugin, id: VmId, world: &Arc<World>) -> Result<Self, StartError> {
        let (module, spec) = (&plugin.module, &plugin.spec);
        let mut store = Store::new(module.engine(), VmState::new(id, spec, plugin.vm_key(), world));
        store.limiter(|state| &mut state.limits);
        store.set_fuel(world.limits.fuel_per_callback).map_err(|error| cannot(spec, id, &error))?;
        if module.is_profiled() {
            Profile::watch(&mut store, |state| &mut state.profile);
        }
        let instance = module.pre().instantiate(&mut store);
        let instance = instance.map_err(|error| not_instantiated(spec, id, world, error))?;
        let exports = Exports::find(&instance, &mut store).map_err(|error| cannot(spec, id, &error))?;
        let memory = instance.get_memory(&mut store, "memory");
        store.data_mut().bind(memory, exports.malloc.clone());
        let mut vm = Self { store, exports, failed: None, peak_fuel: 0, last_fuel: 0, fuel: Vec::new() };
        vm.initialize();
        match vm.failed.clone() {
            Some(failure) => Err(StartError::Trapped { plugin: spec.name.clone(), vm: id, failure }),
            None => Ok(vm),
        }
    }

    fn initialize(&mut self) {
        self.store.data_mut().restricted = true;
        if let Some(initialize) = self.exports.initialize.clone() {
            self.call(Callback::Start, 0, &initialize, ());
            if let Some(main) = self.exports.main.clone() {
                self.call(Callback::Start, 0, &main, (0, 0));
            } else if let Some(main) = self.exports.main_void.clone() {
                self.call(Callback::Start, 0, &main, ());
            }
        } else if let Some(start) = self.exports.start.clone() {
            self.call(Callback::Start, 0, &start, ());
        }
        self.store.data_mut().restricted = false;
    }

    pub(crate) fn id(&self) -> VmId {
        self.store.data().vm
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) fn state(&self) -> &VmState {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut VmState {
        self.store.data_mut()
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.exports
    }

    /// The size of the instance's memory in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    fn count_fuel(&mut self, callback: Callback, units: u64) {
        match self.fuel.iter_mut().find(|seen| seen.callback == callback) {
            Some(seen) => {
                seen.calls += 1;
                seen.units += units;
            }
            None => self.fuel.push(FuelUse { callback, calls: 1, units }),
        }
    }

    /// Calls into the module. `None` if the VM is dead or died in this call.
    pub(crate) fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        callback: Callback,
        context: u32,
        function: &TypedFunc<P, R>,
        params: P,
    ) -> Option<R> {
        if self.failed.is_some() {
            return None;
        }
        let state = self.store.data_mut();
        state.enter(callback, context);
        let budget = state.world.limits.fuel_per_callback;
        let result = self.store.set_fuel(budget).and_then(|()| function.call(&mut self.store, params));
        let left = self.store.get_fuel().unwrap_or(0);
        self.store.data_mut().profile.settle(left);
        let used = budget.saturating_sub(left);
        self.last_fuel = used;
        self.peak_fuel = self.peak_fuel.max(used);
        self.count_fuel(callback, used);
        self.store.data_mut().leave();
        match result {
            Ok(result) => Some(result),
            Err(error) => {
                self.fail(callback, context, &error);
                None
            }
        }
    }

    fn fail(&mut self, callback: Callback, context: u32, error: &wasmtime::Error) {
        let failure = failure(callback, context, error);
        self.store.data().log(LogLevel::Critical, format!("VM died: {failure}"));
        self.tell_streams(&failure);
        self.failed = Some(failure);
    }

    /// Exchanges outlive their host, and can say by themselves why nothing comes.
    fn tell_streams(&self, failure: &VmFailure) {
        let state = self.store.data();
        let at = state.world.lock().clock.elapsed().as_millis();
        for context in state.contexts.values() {
            let Some((stream, slot)) = &context.stream else { continue };
            let (plugin, vm, VmFailure { kind, callback, .. }) = (&context.spec.name, state.vm, failure);
            let death = format!("the VM of plugin {plugin:?} on {vm} died at +{at} ms in {callback}: {kind}");
            if let Some(slot) = stream.lock().slots.get_mut(*slot) {
                slot.death = Some(death);
            }
        }
    }
}

/// What kind of end an error of the engine is.
fn failure(callback: Callback, context: u32, error: &wasmtime::Error) -> VmFailure {
    let kind = if let Some(fault) = error.downcast_ref::<HostFault>() {
        fault.kind
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => FailureKind::OutOfFuel,
            Some(Trap::StackOverflow) => FailureKind::StackOverflow,
            _ => FailureKind::Trap,
        }
    };
    VmFailure { kind, callback, context, message: format!("{error:#}") }
}

fn cannot(spec: &PluginSpec, vm: VmId, error: &wasmtime::Error) -> StartError {
    StartError::Instantiate { plugin: spec.name.clone(), vm, reason: format!("{error:#}") }
}

/// Why there is no instance: its memory is too big, or its `start` function or initial data failed.
fn not_instantiated(spec: &PluginSpec, vm: VmId, world: &World, error: wasmtime::Error) -> StartError {
    let plugin = spec.name.clone();
    if error.is::<Trap>() || error.is::<HostFault>() {
        return StartError::Trapped { plugin, vm, failure: failure(Callback::Start, 0, &error) };
    }
    let reason = format!("{error:#}");
    if reason.contains("memory") && reason.contains("limit") {
        return StartError::Memory { plugin, vm, limit: world.limits.memory_bytes, reason };
    }
    cannot(spec, vm, &error)
}
