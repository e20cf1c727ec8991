//! The VMs of one thread and the plugins in them.

use std::sync::Arc;
use std::time::Duration;

use crate::codes::{Callback, LogLevel};
use crate::error::StartError;
use crate::plugin::Plugin;
use crate::state::Ctx;
use crate::vm::Vm;
use crate::vm_id::VmId;
use crate::world::World;

/// The main thread or a worker.
pub(crate) struct Thread {
    pub(crate) id: VmId,
    /// All VMs of this thread, dead ones too: streams refer to them by their place.
    pub(crate) vms: Vec<Vm>,
    /// By plugin; `None` where it could not be set up.
    pub(crate) handles: Vec<Option<Handle>>,
}

/// A plugin on a thread.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) vm: usize,
    pub(crate) root: u32,
    /// When it was set up, in virtual time.
    pub(crate) started: Duration,
}

impl Thread {
    pub(crate) fn new(id: VmId) -> Self {
        Self { id, vms: Vec::new(), handles: Vec::new() }
    }

    /// Sets a plugin up: in the living VM that it shares, or in a new one.
    pub(crate) fn set_up(&mut self, plugin: &Plugin, world: &Arc<World>) -> Result<Handle, StartError> {
        world.spent.reset();
        let key = plugin.vm_key();
        let shared = self.vms.iter().position(|vm| !vm.is_failed() && vm.state().vm_key == key);
        let vm = match shared {
            Some(vm) => vm,
            None => {
                self.vms.push(Vm::start(plugin, self.id, world)?);
                self.vms.len() - 1
            }
        };
        let started = world.lock().clock.elapsed();
        let machine = &mut self.vms[vm];
        let root = match machine.state().roots.get(&plugin.spec.root_key()) {
            Some(root) => *root,
            None => start_root(machine, plugin, world)?,
        };
        Ok(Handle { vm, root, started })
    }
}

/// Makes the plugin's root context, starts and configures it.
fn start_root(vm: &mut Vm, plugin: &Plugin, world: &Arc<World>) -> Result<u32, StartError> {
    let spec = &plugin.spec;
    let root = vm.state_mut().add_context(|id| Ctx::new(id, spec, None));
    let (id, lines) = (root.cast_signed(), world.lock().logs.len());
    let said = || -> Vec<String> {
        let logs = &world.lock().logs;
        logs.iter().skip(lines).filter(|l| l.level >= LogLevel::Info).map(|l| l.message.clone()).collect()
    };
    if let Some(function) = vm.exports().context_create.clone() {
        vm.call(Callback::ContextCreate, root, &function, (id, 0));
    }
    let size = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    if let Some(function) = vm.exports().vm_start.clone() {
        let started = vm.call(Callback::VmStart, root, &function, (id, size(&spec.vm_config)));
        trapped(vm, plugin)?;
        if started == Some(0) {
            return Err(StartError::VmStartRefused { plugin: spec.name.clone(), vm: vm.id(), log: said() });
        }
    }
    if let Some(function) = vm.exports().configure.clone() {
        vm.state_mut().set_configuring(root, true);
        let configured = vm.call(Callback::Configure, root, &function, (id, size(&spec.config)));
        vm.state_mut().set_configuring(root, false);
        trapped(vm, plugin)?;
        if configured == Some(0) {
            return Err(StartError::ConfigureRefused { plugin: spec.name.clone(), vm: vm.id(), log: said() });
        }
    }
    trapped(vm, plugin)?;
    vm.state_mut().roots.insert(spec.root_key(), root);
    Ok(root)
}

fn trapped(vm: &Vm, plugin: &Plugin) -> Result<(), StartError> {
    match &vm.failed {
        Some(failure) => Err(StartError::Trapped {
            plugin: plugin.spec.name.clone(),
            vm: vm.id(),
            failure: failure.clone(),
        }),
        None => Ok(()),
    }
}
