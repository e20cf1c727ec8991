//! Start, reload, new configuration, drain.

use super::Host;
use super::failure::StartFailure;
use super::thread::{Handle, Thread};
use super::traffic::DOWNSTREAM_CONNECTION_TERMINATION;
use crate::codes::Callback;
use crate::error::StartError;
use crate::plugin::Plugin;
use crate::spec::FailurePolicy;
use crate::vm::Vm;
use crate::vm_id::VmId;
use crate::world::CallState;

impl Host {
    /// Tries all plugins in canaries, then sets them up on every thread.
    pub(super) fn set_up(&mut self, plugins: Vec<Plugin>) -> Result<(), StartError> {
        let tried = plugins.iter().try_for_each(|plugin| self.canary(plugin));
        if tried.is_err() {
            self.forget_canaries();
            return tried;
        }
        for (index, plugin) in plugins.iter().enumerate() {
            self.set_up_everywhere(index, plugin);
        }
        for thread in std::iter::once(&mut self.main).chain(&mut self.workers) {
            thread.handles.truncate(plugins.len());
        }
        self.draining.extend(self.plugins.iter().map(Plugin::vm_key));
        self.plugins = plugins;
        Ok(())
    }

    /// Tries a plugin in a VM of its own, once: as long as its VMs live, it is known how that went.
    fn canary(&mut self, plugin: &Plugin) -> Result<(), StartError> {
        let key = (plugin.vm_key(), plugin.spec.root_key());
        if let Some(known) = self.canaries.get(&key) {
            return known.clone();
        }
        let result = self.try_in_canary(plugin);
        self.canaries.insert(key, result.clone());
        result
    }

    fn forget_canaries(&mut self) {
        let living: Vec<_> = self.plugins.iter().map(Plugin::vm_key).chain(self.draining.clone()).collect();
        self.canaries.retain(|(vm, _), _| living.contains(vm));
    }

    fn try_in_canary(&self, plugin: &Plugin) -> Result<(), StartError> {
        let mut thread = Thread::new(VmId::Canary);
        let result = thread.set_up(plugin, &self.world);
        for vm in &mut thread.vms {
            vm.cancel_calls(None);
        }
        result.map(|_| ())
    }

    fn set_up_everywhere(&mut self, index: usize, plugin: &Plugin) {
        for thread in std::iter::once(&mut self.main).chain(&mut self.workers) {
            let handle = match thread.set_up(plugin, &self.world) {
                Ok(handle) => Some(handle),
                Err(error) => {
                    self.failures.push(StartFailure { plugin: index, vm: thread.id, error });
                    None
                }
            };
            match thread.handles.get_mut(index) {
                Some(present) => *present = handle,
                None => thread.handles.push(handle),
            }
        }
    }

    /// Makes a dead VM anew if the plugin's policy says so and its back-off is over.
    pub(super) fn reload_if_due(&mut self, worker: usize, index: usize) {
        let FailurePolicy::Reload { backoff } = self.policy(index) else { return };
        let now = self.elapsed();
        let thread = &mut self.workers[worker];
        let Some(Some(handle)) = thread.handles.get(index) else { return };
        let due = now.saturating_sub(handle.started) >= backoff;
        if !thread.vms[handle.vm].is_failed() || !due {
            return;
        }
        let dead = Handle { started: now, ..handle.clone() };
        let reloaded = thread.set_up(&self.plugins[index], &self.world);
        thread.handles[index] = Some(match reloaded {
            Ok(handle) => handle,
            Err(error) => {
                self.failures.push(StartFailure { plugin: index, vm: thread.id, error });
                dead
            }
        });
    }

    /// Gives a plugin a new configuration: an [`update`](Self::update) of the chain in which nothing else
    /// changes.
    ///
    /// # Errors
    /// [`StartError`] if the canary refuses; the old configuration stays in force.
    ///
    /// # Panics
    /// If there is no plugin at `index`.
    #[track_caller]
    pub fn reconfigure(&mut self, index: usize, config: impl AsRef<[u8]>) -> Result<(), StartError> {
        let mut plugins = self.plugins.clone();
        let count = plugins.len();
        assert!(index < count, "there is no plugin {index}: this host has {count}, counted from 0");
        plugins[index] = plugins[index].clone().config(config);
        self.update(plugins)
    }

    /// Puts another chain of plugins in the place of this one, as a listener update does: what is new is
    /// tried in a canary; then new root contexts are made, in the VMs that are there where code, VM id and
    /// VM configuration are the same. Streams that are open stay with the old root contexts, whose timers
    /// go on, until [`drain`](Self::drain).
    ///
    /// # Errors
    /// [`StartError`] if there is no plugin or a canary refuses; the old chain stays in force.
    pub fn update(&mut self, plugins: impl IntoIterator<Item = Plugin>) -> Result<(), StartError> {
        let plugins: Vec<Plugin> = plugins.into_iter().collect();
        if plugins.is_empty() {
            return Err(StartError::NoPlugin);
        }
        self.set_up(plugins)?;
        self.generation += 1;
        self.settle();
        Ok(())
    }

    /// Ends the drain time after an [`update`](Self::update): streams of the old configuration
    /// are cut, and the root contexts that no plugin uses any more get `proxy_on_done`; their callouts
    /// are cancelled unless they asked to be kept by returning false.
    pub fn drain(&mut self) {
        let old: Vec<_> = self.open.values().cloned().collect();
        for stream in old {
            if stream.lock().generation < self.generation {
                let details = "downstream_local_disconnect(filter_chain_is_being_removed)";
                self.reset(&stream, details, DOWNSTREAM_CONNECTION_TERMINATION);
            }
        }
        let handles = |thread: &Thread| -> Vec<(usize, u32)> {
            thread.handles.iter().flatten().map(|handle| (handle.vm, handle.root)).collect()
        };
        for thread in std::iter::once(&mut self.main).chain(&mut self.workers) {
            let used = handles(thread);
            for (index, vm) in thread.vms.iter_mut().enumerate() {
                let roots: Vec<u32> = vm.state().roots.values().copied().collect();
                for root in roots.into_iter().filter(|root| !used.contains(&(index, *root))) {
                    vm.end_root(root);
                }
            }
        }
        self.draining.clear();
        self.forget_canaries();
        self.settle();
    }

    /// Ends all plugins as a shutdown, or the end of the drain time of a removed listener, does: open streams are cut, then every root context gets
    /// `proxy_on_done`.
    pub fn shut_down(&mut self) {
        let open: Vec<_> = self.open.values().cloned().collect();
        for stream in open {
            let details =
                "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)";
            self.reset(&stream, details, DOWNSTREAM_CONNECTION_TERMINATION);
        }
        for thread in std::iter::once(&mut self.main).chain(&mut self.workers) {
            for vm in &mut thread.vms {
                let roots: Vec<u32> = vm.state().roots.values().copied().collect();
                for root in roots {
                    vm.end_root(root);
                }
            }
        }
        self.settle();
    }
}

impl Vm {
    /// Cancels the callouts of a root context, or of all.
    pub(crate) fn cancel_calls(&mut self, root: Option<u32>) {
        let state = self.state_mut();
        let world = std::sync::Arc::clone(&state.world);
        let mut shared = world.lock();
        for (id, context) in &mut state.contexts {
            if root.is_none_or(|root| root == *id) {
                for (_, call) in context.calls.drain(..) {
                    shared.finish_call(call, CallState::Cancelled);
                }
            }
        }
    }

    /// `proxy_on_done` for a root context; it ends now if it agrees, else with `proxy_done`.
    pub(crate) fn end_root(&mut self, root: u32) {
        self.state_mut().roots.retain(|_, id| *id != root);
        let done = self.exports().done.clone();
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.done_pending = true;
        }
        let finished = match done {
            Some(function) => self.call(Callback::Done, root, &function, (root.cast_signed(),)) != Some(0),
            None => true,
        };
        if finished {
            self.delete_context(root);
        }
    }

    /// `proxy_on_delete`, then the context is gone.
    pub(crate) fn delete_context(&mut self, id: u32) {
        self.cancel_calls(Some(id));
        if let Some(function) = self.exports().delete.clone() {
            self.call(Callback::Delete, id, &function, (id.cast_signed(),));
        }
        let state = self.state_mut();
        let timer = (state.vm, state.instance);
        state.world.lock().clock.set_timer(timer.0, timer.1, id, std::time::Duration::ZERO);
        state.contexts.remove(&id);
    }
}
