//! Calling a filter: its context, the window of what it may touch, and what its answer means.

use super::Host;
use crate::codes::Callback;
use crate::flow::{Dir, Link, StreamRef};
use crate::vm::Vm;

/// The numbers that header and body callbacks return.
pub(super) const CONTINUE: i32 = 0;
pub(super) const STOP: i32 = 1;
pub(super) const HEADERS_UNSUPPORTED: i32 = 2;
pub(super) const HEADERS_STOP_AND_BUFFER: i32 = 3;
/// The host's own number: the headers wait, and the body is shown. Only native filters can ask for it.
pub(super) const HEADERS_AWAIT: i32 = 5;
pub(super) const DATA_WATERMARK: i32 = 2;
pub(super) const DATA_NO_BUFFER: i32 = 3;

/// What the filter's callback led to.
pub(super) enum Called {
    /// The filter was not called: it is left out, or was never made, or exports no such callback.
    Not,
    /// It returned this number.
    Returned(i32),
    /// Its VM is dead, now or before.
    Failed,
}

impl Host {
    /// Makes the filter's context in its VM, once.
    pub(crate) fn create(&mut self, stream: &StreamRef, slot: usize) {
        let (worker, link, created) = {
            let mut locked = stream.lock();
            let worker = locked.worker;
            let slot = &mut locked.slots[slot];
            (worker, slot.link, std::mem::replace(&mut slot.created, true))
        };
        if link == Link::Native {
            stream.lock().slots[slot].created = created;
            return self.open_native(stream, slot);
        }
        let Link::Live { vm, context } = link else { return };
        if created {
            return;
        }
        let machine = self.vm_mut(worker, vm);
        let Some(root) = machine.state().contexts.get(&context).map(|context| context.root) else { return };
        if let Some(function) = machine.exports().context_create.clone() {
            let arguments = (context.cast_signed(), root.cast_signed());
            machine.call(Callback::ContextCreate, context, &function, arguments);
        }
        self.act(worker, vm);
    }

    /// Calls a filter with the window of its phase open, then does what it asked for.
    pub(super) fn call_filter(
        &mut self,
        stream: &StreamRef,
        dir: Dir,
        slot: usize,
        callback: Callback,
        end: bool,
    ) -> Called {
        let (worker, link, created, failed, size) = {
            let locked = stream.lock();
            let entry = &locked.slots[slot];
            let way = locked.way(dir);
            let size = match callback {
                Callback::RequestHeaders | Callback::ResponseHeaders => {
                    way.headers.as_ref().map_or(0, |m| m.len())
                }
                Callback::RequestTrailers | Callback::ResponseTrailers => {
                    way.trailers.as_ref().map_or(0, |map| map.len())
                }
                _ => locked.visible_body(dir, slot, true).map_or(0, <[u8]>::len),
            };
            (locked.worker, entry.link, entry.created, entry.failed, size)
        };
        match link {
            Link::Skipped => return Called::Not,
            Link::Native => return self.call_native(stream, dir, slot, callback, end),
            Link::Dead if dir == Dir::Request && !failed => return Called::Failed,
            Link::Dead => return Called::Not,
            Link::Live { .. } if !created || failed => return Called::Not,
            Link::Live { .. } => {}
        }
        let Link::Live { vm, context } = link else { return Called::Not };
        let machine = self.vm_mut(worker, vm);
        if machine.is_failed() {
            return Called::Failed;
        }
        open_window(machine, context, dir, callback, end);
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        let returned = invoke(machine, callback, context, size, i32::from(end));
        if machine.is_failed() {
            self.act(worker, vm);
            return Called::Failed;
        }
        let Some(returned) = returned else { return Called::Not };
        let action = normalise(callback, returned, machine.state().stop_iteration);
        self.act(worker, vm);
        close_window(self.vm_mut(worker, vm), context, dir, callback, action);
        Called::Returned(action)
    }
}

/// Envoy takes `StopIteration` of headers, and any number that it does not know, as a full stop.
fn normalise(callback: Callback, returned: i32, replied: bool) -> i32 {
    match callback {
        Callback::RequestHeaders | Callback::ResponseHeaders => {
            if replied || !(0..=4).contains(&returned) {
                STOP
            } else {
                returned
            }
        }
        Callback::RequestBody | Callback::ResponseBody => {
            if replied || !(0..=3).contains(&returned) {
                DATA_NO_BUFFER
            } else {
                returned
            }
        }
        _ if replied || returned != CONTINUE => STOP,
        _ => CONTINUE,
    }
}

fn open_window(vm: &mut Vm, context: u32, dir: Dir, callback: Callback, end: bool) {
    let Some(context) = vm.state_mut().contexts.get_mut(&context) else { return };
    let window = &mut context.window;
    match callback {
        Callback::RequestHeaders | Callback::ResponseHeaders => window.headers[dir.index()] = true,
        Callback::RequestBody | Callback::ResponseBody => window.body[dir.index()] = true,
        _ => window.trailers[dir.index()] = true,
    }
    window.end_of_stream = end;
}

/// A filter that goes on loses its view of the part that it was shown.
fn close_window(vm: &mut Vm, context: u32, dir: Dir, callback: Callback, action: i32) {
    let Some(context) = vm.state_mut().contexts.get_mut(&context) else { return };
    let window = &mut context.window;
    match callback {
        Callback::RequestHeaders | Callback::ResponseHeaders => {
            window.headers[dir.index()] &= !matches!(action, CONTINUE | HEADERS_UNSUPPORTED);
        }
        Callback::RequestBody | Callback::ResponseBody => window.body[dir.index()] = false,
        _ => window.trailers[dir.index()] &= action != CONTINUE,
    }
}

fn invoke(vm: &mut Vm, callback: Callback, context: u32, size: i32, end: i32) -> Option<i32> {
    let id = context.cast_signed();
    let exports = vm.exports();
    match callback {
        Callback::RequestHeaders
        | Callback::ResponseHeaders
        | Callback::RequestBody
        | Callback::ResponseBody => {
            let function = match callback {
                Callback::RequestHeaders => exports.request_headers.clone(),
                Callback::ResponseHeaders => exports.response_headers.clone(),
                Callback::RequestBody => exports.request_body.clone(),
                _ => exports.response_body.clone(),
            }?;
            vm.call(callback, context, &function, (id, size, end))
        }
        _ => {
            let function = match callback {
                Callback::RequestTrailers => exports.request_trailers.clone(),
                _ => exports.response_trailers.clone(),
            }?;
            vm.call(callback, context, &function, (id, size))
        }
    }
}
