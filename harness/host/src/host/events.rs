//! What happens by itself: ticks, answers to callouts, queue notifications, answers of upstreams.

use std::time::Duration;

use super::Host;
use super::thread::Thread;
use crate::codes::{Callback, Status};
use crate::headers::HeaderMap;
use crate::native::NATIVE;
use crate::state::CallAnswer;
use crate::vm::Vm;
use crate::vm_id::VmId;
use crate::world::{CallEnd, CallState, Event, Misuse};

/// Events at one moment of virtual time after which the host takes it that they will never end.
const LIVELOCK: usize = 10_000;

impl Host {
    /// Moves virtual time on; ticks, time-outs and answers happen in their order on the way.
    pub fn advance(&mut self, by: Duration) {
        let until = self.world.lock().clock.elapsed().saturating_add(by);
        self.run_until(until);
        self.world.lock().clock.move_to(until);
    }

    /// Virtual time since the host started.
    pub fn elapsed(&self) -> Duration {
        self.world.lock().clock.elapsed()
    }

    /// Sets the wall clock (nanoseconds since 1970); timers and the monotonic clock are not touched.
    pub fn set_wall_clock(&mut self, unix_nanos: u64) {
        self.world.lock().clock.set_unix_nanos(unix_nanos);
    }

    /// Lets everything happen that is due now.
    pub(crate) fn settle(&mut self) {
        let now = self.elapsed();
        self.run_until(now);
    }

    pub(super) fn run_until(&mut self, until: Duration) {
        let (mut moment, mut count, mut all) = (self.elapsed(), 0, 0_u64);
        self.world.spent.reset();
        loop {
            let (event, now) = {
                let mut world = self.world.lock();
                (world.clock.next(until), world.clock.elapsed())
            };
            let Some(event) = event else { return };
            if now != moment {
                self.world.spent.reset();
                (moment, count) = (now, 0);
            }
            count += 1;
            all += 1;
            if all > self.world.limits.events {
                return self.too_many(until);
            }
            if count > LIVELOCK {
                return self.livelock();
            }
            self.handle(event);
        }
    }

    /// A plugin that calls again as soon as it is answered, for example.
    fn livelock(&self) {
        let reason = format!(
            "more than {LIVELOCK} events at one moment of virtual time: does a callback repeat at once what \
             caused it, without a back-off? (Answer::after, Upstream::manual or Answer::never break the loop)"
        );
        self.world.lock().misuse.push(Misuse {
            reason,
            vm: VmId::Main,
            context: 0,
            callback: Callback::HttpCallResponse,
            name: "livelock",
        });
    }

    /// A step of years, for a plugin whose timer ticks all the time.
    fn too_many(&self, until: Duration) {
        let mut world = self.world.lock();
        let reason = format!(
            "more than {} events (Limits::events) on the way to {until:?}, of which {:?} were played: advance by less, or \
             set the wall clock (Host::set_wall_clock)",
            self.world.limits.events,
            world.clock.elapsed()
        );
        world.misuse.push(Misuse {
            reason,
            vm: VmId::Main,
            context: 0,
            callback: Callback::Tick,
            name: "advance",
        });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { vm, instance, root, generation } => self.tick(vm, instance, root, generation),
            Event::NativeTick { plugin } => self.native_tick(plugin),
            Event::NativeWake { plugin, event } => self.native_wake(plugin, event),
            Event::NativeStreamWake { stream, slot, event } => self.native_stream_wake(stream, slot, event),
            Event::CallEnd { instance: NATIVE, root, end, .. } => self.native_call_ended(root, end),
            Event::CallEnd { vm, instance, root, token, end } => {
                self.call_ended(vm, instance, root, token, end)
            }
            Event::UpstreamAnswer { stream, answer } => {
                if let Some(stream) = self.open.get(&stream).cloned() {
                    self.upstream_answered(&stream, *answer);
                }
            }
            Event::QueueReady { vm, key, root, token } => {
                let Some((thread, at)) = self.find(vm, |machine| machine.state().vm_key == key) else {
                    return;
                };
                let machine = &mut thread.vms[at];
                if let Some(function) = machine.exports().queue_ready.clone() {
                    let arguments = (root.cast_signed(), token.cast_signed());
                    machine.call(Callback::QueueReady, root, &function, arguments);
                }
                self.after(vm, at);
            }
        }
    }

    fn thread_mut(&mut self, id: VmId) -> Option<&mut Thread> {
        match id {
            VmId::Canary => None,
            VmId::Main => Some(&mut self.main),
            VmId::Worker(n) => self.workers.get_mut(n),
        }
    }

    /// A living VM of a thread.
    fn find(&mut self, id: VmId, matches: impl Fn(&Vm) -> bool) -> Option<(&mut Thread, usize)> {
        let thread = self.thread_mut(id)?;
        let at = thread.vms.iter().position(|vm| !vm.is_failed() && matches(vm))?;
        Some((thread, at))
    }

    /// What a callback of a root context led to.
    fn after(&mut self, id: VmId, vm: usize) {
        if let VmId::Worker(worker) = id {
            self.act(worker, vm);
        } else {
            self.main.vms[vm].finish_done();
        }
    }

    fn tick(&mut self, vm: VmId, instance: u64, root: u32, generation: u64) {
        if !self.world.lock().clock.is_current(instance, root, generation) {
            return;
        }
        let Some((thread, at)) = self.find(vm, |machine| machine.state().instance == instance) else {
            return;
        };
        let machine = &mut thread.vms[at];
        if let Some(function) = machine.exports().tick.clone() {
            machine.call(Callback::Tick, root, &function, (root.cast_signed(),));
        }
        self.world.lock().clock.rearm(vm, instance, root, generation);
        self.after(vm, at);
    }

    fn call_ended(&mut self, vm: VmId, instance: u64, root: u32, token: u32, end: CallEnd) {
        if !self.world.lock().finish_call(end.id(), CallState::Ended) {
            return;
        }
        let Some((thread, at)) = self.find(vm, |machine| machine.state().instance == instance) else {
            return;
        };
        let machine = &mut thread.vms[at];
        let Some(context) = machine.state_mut().contexts.get_mut(&root) else { return };
        context.calls.retain(|(known, _)| *known != token);
        match end {
            CallEnd::Http { headers, body, trailers, .. } => {
                http_answered(machine, root, token, Some(CallAnswer { headers, body, trailers }));
            }
            CallEnd::HttpReset { .. } => {
                context.status = (Status::BrokenConnection.code(), "reset".to_owned());
                http_answered(machine, root, token, None);
                forget_reason(machine, root);
            }
            CallEnd::Grpc { message, status, reason, .. } => {
                grpc_answered(machine, root, token, message, status, reason);
            }
        }
        self.after(vm, at);
    }
}

fn size(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

fn http_answered(vm: &mut Vm, root: u32, token: u32, answer: Option<CallAnswer>) {
    let Some(function) = vm.exports().http_call_response.clone() else { return };
    let of = |part: fn(&CallAnswer) -> usize| size(answer.as_ref().map_or(0, part));
    let arguments = (
        root.cast_signed(),
        token.cast_signed(),
        of(|answer| answer.headers.len()),
        of(|answer| answer.body.len()),
        of(|answer| answer.trailers.as_ref().map_or(0, HeaderMap::len)),
    );
    vm.state_mut().set_answer(root, answer);
    vm.call(Callback::HttpCallResponse, root, &function, arguments);
    vm.state_mut().set_answer(root, None);
}

fn grpc_answered(vm: &mut Vm, root: u32, token: u32, message: Option<Vec<u8>>, status: u32, reason: String) {
    let (id, call) = (root.cast_signed(), token.cast_signed());
    if let Some(body) = message {
        let Some(function) = vm.exports().grpc_receive.clone() else { return };
        let len = size(body.len());
        let answer = CallAnswer { body, ..CallAnswer::default() };
        vm.state_mut().set_answer(root, Some(answer));
        vm.call(Callback::GrpcReceive, root, &function, (id, call, len));
        vm.state_mut().set_answer(root, None);
    } else if let Some(function) = vm.exports().grpc_close.clone() {
        if let Some(context) = vm.state_mut().contexts.get_mut(&root) {
            context.status = (status, reason);
        }
        vm.call(Callback::GrpcClose, root, &function, (id, call, status.cast_signed()));
        forget_reason(vm, root);
    }
}

/// After the callback Envoy forgets a failure's message, but not its code.
fn forget_reason(vm: &mut Vm, root: u32) {
    if let Some(context) = vm.state_mut().contexts.get_mut(&root) {
        context.status.1.clear();
    }
}
