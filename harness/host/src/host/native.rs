//! Native plugins: their events, and calling their filters.

use std::sync::PoisonError;

use super::Host;
use super::call::{CONTINUE, Called, HEADERS_AWAIT, STOP};
use super::opened::Opened;
use crate::codes::Callback;
use crate::error::StartError;
use crate::flow::{Dir, Link, Reply, Slot, StreamRef};
use crate::native::{NativeFilter, NativePlugin, PluginHandle, StreamHandle, Wish, Wishes};
use crate::vm_id::VmId;
use crate::world::{CallEnd, CallState, Event};

impl Host {
    /// Configures every native plugin and lets it tick.
    pub(super) fn set_up_native(&mut self) -> Result<(), StartError> {
        for (index, plugin) in self.natives.iter_mut().enumerate() {
            let handle = PluginHandle { world: self.world.clone(), plugin: index };
            if let Err(reason) = plugin.configure(handle) {
                let plugin = plugin.name().to_owned();
                return Err(StartError::ConfigureRefused { plugin, vm: VmId::Main, log: vec![reason] });
            }
            let period = plugin.tick_period();
            self.world.lock().clock.schedule(period, Event::NativeTick { plugin: index });
        }
        Ok(())
    }

    /// Puts another native filter in the place of one, as a listener update does: it is tried first, and streams that
    /// are open stay with the old one.
    ///
    /// # Errors
    /// [`StartError`] if it refuses its configuration; the old one stays in force.
    ///
    /// # Panics
    /// If there is no native filter at `index`.
    #[track_caller]
    pub fn replace_native(
        &mut self,
        index: usize,
        mut plugin: Box<dyn NativePlugin>,
    ) -> Result<(), StartError> {
        let count = self.natives.len();
        assert!(index < count, "there is no native filter {index}: this host has {count}, counted from 0");
        let handle = PluginHandle { world: self.world.clone(), plugin: index };
        if let Err(reason) = plugin.configure(handle) {
            let plugin = plugin.name().to_owned();
            return Err(StartError::ConfigureRefused { plugin, vm: VmId::Main, log: vec![reason] });
        }
        self.natives[index] = plugin;
        self.settle();
        Ok(())
    }

    /// The native filters of a stream, by their places in the chain.
    pub(super) fn native_slots(&self) -> Vec<Slot> {
        let slot = |plugin| Slot {
            plugin,
            link: Link::Native,
            sides: Default::default(),
            created: false,
            failed: false,
            death: None,
        };
        (0..self.natives.len()).map(slot).collect()
    }

    pub(super) fn native_tick(&mut self, plugin: usize) {
        let Some(native) = self.natives.get_mut(plugin) else { return };
        native.on_tick();
        let period = native.tick_period();
        self.world.lock().clock.schedule(period, Event::NativeTick { plugin });
    }

    pub(super) fn native_wake(&mut self, plugin: usize, event: u64) {
        if let Some(native) = self.natives.get_mut(plugin) {
            native.on_wake(event);
        }
    }

    pub(super) fn native_call_ended(&mut self, plugin: u32, end: CallEnd) {
        let id = end.id();
        if !self.world.lock().finish_call(id, CallState::Ended) {
            return;
        }
        let answer = match end {
            CallEnd::Http { headers, body, .. } => Some((headers, body)),
            CallEnd::HttpReset { .. } | CallEnd::Grpc { .. } => None,
        };
        let index = usize::try_from(plugin).unwrap_or(usize::MAX);
        if let Some(native) = self.natives.get_mut(index) {
            native.on_call_ended(id, answer);
        }
    }

    pub(super) fn native_stream_wake(&mut self, stream: u64, slot: usize, event: u64) {
        if let Some(stream) = self.open.get(&stream).cloned() {
            self.with_native(&stream, slot, |filter| filter.on_wake(event));
        }
    }

    /// Makes the filter of a stream, once.
    pub(super) fn open_native(&mut self, stream: &StreamRef, slot: usize) {
        let (id, plugin) = {
            let mut locked = stream.lock();
            let id = locked.id;
            let entry = &mut locked.slots[slot];
            if std::mem::replace(&mut entry.created, true) {
                return;
            }
            (id, entry.plugin)
        };
        let wishes = Wishes::default();
        let handle = StreamHandle {
            stream: stream.clone(),
            slot,
            plugin: PluginHandle { world: self.world.clone(), plugin },
            wishes: wishes.clone(),
        };
        let filter = self.natives[plugin].open(handle);
        self.opened.insert((id, slot), Opened { filter, wishes, replied: false });
    }

    /// Shows a piece of a stream to a native filter.
    pub(super) fn call_native(
        &mut self,
        stream: &StreamRef,
        dir: Dir,
        slot: usize,
        callback: Callback,
        end: bool,
    ) -> Called {
        let id = stream.lock().id;
        if dir == Dir::Response && self.opened.get(&(id, slot)).is_none_or(|opened| opened.replied) {
            return Called::Not;
        }
        let Some(action) = self.with_native(stream, slot, |filter| filter.on_piece(callback, end)) else {
            return Called::Not;
        };
        let headers = matches!(callback, Callback::RequestHeaders | Callback::ResponseHeaders);
        Called::Returned(match action.cast_signed() {
            // Unlike a Wasm plugin's, this one still shows the body to the filter.
            STOP if headers => HEADERS_AWAIT,
            action if (CONTINUE..=4).contains(&action) => action,
            _ => STOP,
        })
    }

    /// Calls a filter, then does what it asked for. `None` when there is none.
    fn with_native<T>(
        &mut self,
        stream: &StreamRef,
        slot: usize,
        call: impl FnOnce(&mut dyn NativeFilter) -> T,
    ) -> Option<T> {
        let id = stream.lock().id;
        let opened = self.opened.get_mut(&(id, slot))?;
        let answer = call(opened.filter.as_mut());
        while let Some(opened) = self.opened.get_mut(&(id, slot)) {
            let wish = opened.wishes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match wish {
                None => break,
                Some(Wish::Resume(dir)) => self.resume(stream, dir, slot),
                Some(Wish::Reply { status, headers, body, details }) => {
                    opened.replied = true;
                    let plugin = Some(stream.lock().slots[slot].plugin);
                    // A native filter puts grpc-status among the headers, where it replaces Envoy's.
                    let given = headers.get("grpc-status").and_then(|status| status.parse().ok());
                    let grpc_status = given.unwrap_or(-1);
                    let mut headers = headers;
                    headers.remove("grpc-status");
                    let reply = Reply { status, details, headers, body, grpc_status, plugin, flags: 0 };
                    self.local_reply(stream, reply);
                }
            }
        }
        Some(answer)
    }

    pub(super) fn complete_native(&mut self, stream: &StreamRef, slot: usize) {
        self.with_native(stream, slot, |filter| filter.on_complete());
    }

    pub(super) fn close_native(&mut self, stream: u64, slot: usize) {
        self.opened.remove(&(stream, slot));
    }
}
