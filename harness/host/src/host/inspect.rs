//! What a test can see and touch beside the traffic.

use super::Host;
use super::failure::StartFailure;
use crate::codes::Status;
use crate::error::VmFailure;
use crate::message::Answer;
use crate::profile::FunctionFuel;
use crate::vm::FuelUse;
use crate::vm_id::VmId;
use crate::world::{Call, CallState, Fault, LogLine, Metrics, Misuse, Trace};

/// How a VM stands.
#[derive(Clone, Debug)]
pub struct VmReport {
    /// Which VM.
    pub vm: VmId,
    /// The bytes of its linear memory.
    pub memory_bytes: usize,
    /// The fuel that its last callback used.
    pub last_fuel: u64,
    /// The most fuel that one callback used.
    pub peak_fuel: u64,
    /// The fuel that each callback has used so far.
    pub fuel: Vec<FuelUse>,
    /// The fuel that each function has used so far, the one that used most first; empty unless the module is
    /// [`profiled`](crate::Module::profiled).
    pub functions: Vec<FunctionFuel>,
    /// The number of hostcalls it made.
    pub hostcalls: u64,
    /// The number of contexts, root and stream.
    pub contexts: usize,
    /// Why it is dead, if it is.
    pub failure: Option<VmFailure>,
}

impl Host {
    /// All lines that modules logged, in order.
    pub fn logs(&self) -> Vec<LogLine> {
        self.world.lock().logs.clone()
    }

    /// All metrics.
    pub fn metrics(&self) -> Metrics {
        self.world.lock().metrics.clone()
    }

    /// All hostcalls so far (empty if the host was built [`without_trace`](crate::HostBuilder::without_trace)).
    pub fn trace(&self) -> Trace {
        self.world.lock().trace.clone()
    }

    /// Forgets trace, logs and ended callouts, so that what follows can be looked at alone, and long runs
    /// do not grow.
    pub fn clear_history(&mut self) {
        let mut world = self.world.lock();
        world.trace.clear();
        world.logs.clear();
        world.calls.retain(|call| call.state == CallState::Pending);
    }

    /// Calls that the ABI does not allow where they were made.
    pub fn misuse(&self) -> Vec<Misuse> {
        self.world.lock().misuse.clone()
    }

    /// Takes the misuse seen so far: it will not fail the test any more.
    pub fn take_misuse(&mut self) -> Vec<Misuse> {
        std::mem::take(&mut self.world.lock().misuse)
    }

    /// All callouts so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.world.lock().calls.clone()
    }

    /// The callouts to a cluster that nobody has answered yet.
    pub fn pending_calls(&self, cluster: &str) -> Vec<Call> {
        let world = self.world.lock();
        let pending = |call: &&Call| call.state == CallState::Pending && call.cluster == cluster;
        world.calls.iter().filter(pending).cloned().collect()
    }

    /// Answers a callout to a [`manual`](crate::Upstream::manual) cluster.
    ///
    /// # Panics
    /// If no such call waits.
    #[track_caller]
    pub fn answer(&mut self, call: u64, answer: Answer) {
        let answered = self.world.lock().answer_held(call, answer);
        assert!(answered, "no callout {call} waits for an answer; calls so far:\n{}", self.list_calls());
        self.settle();
    }

    fn list_calls(&self) -> String {
        self.calls().iter().map(|call| format!("  {}: {call}\n", call.id)).collect()
    }

    /// Replaces the script of a callout cluster, or adds the cluster.
    pub fn set_cluster(&mut self, name: &str, upstream: impl Into<crate::Upstream>) {
        self.world.lock().clusters.insert(name.to_owned(), upstream.into());
    }

    /// Replaces the service behind the default route.
    pub fn set_upstream(&mut self, upstream: impl Into<crate::Upstream>) {
        self.upstreams.insert("upstream".to_owned(), upstream.into());
    }

    /// The shared data under a key, with its compare-and-swap number.
    pub fn shared_data(&self, vm_id: &str, key: impl AsRef<[u8]>) -> Option<(Vec<u8>, u32)> {
        self.world.lock().shared_data.get(vm_id, key.as_ref()).cloned()
    }

    /// Writes shared data, as a plugin of another vendor could.
    ///
    /// # Errors
    /// [`Status::CasMismatch`] if `cas` is neither 0 nor the present number.
    pub fn set_shared_data(&mut self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.world.lock().shared_data.set(vm_id, key, value.to_vec(), cas)
    }

    /// The entries of a shared queue; `None` if nobody registered it.
    pub fn queue(&self, vm_id: &str, name: impl AsRef<[u8]>) -> Option<Vec<Vec<u8>>> {
        self.world.lock().queues.entries(vm_id, name.as_ref())
    }

    /// Puts an entry into a shared queue, as a plugin of another vendor could, and tells its listener.
    ///
    /// # Errors
    /// [`Status::NotFound`] if nobody registered the queue.
    pub fn enqueue(&mut self, vm_id: &str, name: &[u8], entry: &[u8]) -> Result<(), Status> {
        self.world.enqueue(vm_id, name, entry)?;
        self.settle();
        Ok(())
    }

    /// Arms a fault.
    pub fn inject(&mut self, fault: Fault) {
        self.world.faults.arm(fault);
    }

    /// Disarms all faults.
    ///
    /// # Panics
    /// If one of them never struck: the test did not test what it says.
    #[track_caller]
    pub fn clear_faults(&mut self) {
        let idle = self.world.faults.disarm();
        assert!(idle.is_empty(), "{}", never_struck(&idle));
    }

    /// The clusters that plugins called and that there are not, in the order of the first calls: they fail, as in Envoy.
    pub fn unknown_clusters(&self) -> Vec<String> {
        self.world.lock().unknown_clusters.clone()
    }

    /// Plugins that could not be set up on a thread although their canary could.
    pub fn start_failures(&self) -> &[StartFailure] {
        &self.failures
    }

    /// The state of every VM, the main thread's first; dead ones included.
    pub fn vms(&self) -> Vec<VmReport> {
        let threads = std::iter::once(&self.main).chain(&self.workers);
        threads
            .flat_map(|thread| &thread.vms)
            .map(|vm| VmReport {
                vm: vm.id(),
                memory_bytes: vm.memory_bytes(),
                last_fuel: vm.last_fuel,
                peak_fuel: vm.peak_fuel,
                fuel: vm.fuel.clone(),
                functions: vm.state().profile.functions(),
                hostcalls: vm.state().hostcalls,
                contexts: vm.state().contexts.len(),
                failure: vm.failed.clone(),
            })
            .collect()
    }

    /// Asserts that nothing misused the ABI so far.
    ///
    /// # Panics
    /// With the list, if something did.
    #[track_caller]
    pub fn assert_no_misuse(&self) {
        let misuse = list(&self.misuse());
        assert!(misuse.is_empty(), "the module misused the Proxy-Wasm ABI:\n{misuse}");
    }

    /// Asserts that some line of the log contains `text`.
    ///
    /// # Panics
    /// With the log, if none does.
    #[track_caller]
    pub fn assert_logged(&self, text: &str) {
        let logs = self.logs();
        let all: String = logs.iter().map(|line| format!("  {line}\n")).collect();
        assert!(logs.iter().any(|line| line.message.contains(text)), "no log line contains {text:?}:\n{all}");
    }
}

impl Drop for Host {
    /// Misuse of the ABI that no test looked at is a failure of the test, and so is a fault that never struck.
    fn drop(&mut self) {
        let idle = self.world.faults.disarm();
        let misuse = list(&self.misuse());
        if std::thread::panicking() && !misuse.is_empty() {
            // It may be the cause of what failed.
            eprintln!("the module misused the Proxy-Wasm ABI:\n{misuse}");
        }
        if !self.misuse_is_failure || std::thread::panicking() {
            return;
        }
        assert!(
            misuse.is_empty(),
            "the module misused the Proxy-Wasm ABI (see HostBuilder::allow_misuse):\n{misuse}"
        );
        assert!(idle.is_empty(), "{}", never_struck(&idle));
    }
}

/// What a test is told whose faults never struck.
fn never_struck(faults: &[Fault]) -> String {
    let all: String = faults.iter().map(|fault| format!("  {fault}\n")).collect();
    format!("faults were asked for that never struck:\n{all}")
}

/// Misuse as text, one line for all that is alike in call, callback and reason.
fn list(misuse: &[Misuse]) -> String {
    let mut kinds: Vec<(&Misuse, usize)> = Vec::new();
    for each in misuse {
        let like = |known: &Misuse| {
            (known.name, known.callback, &known.reason) == (each.name, each.callback, &each.reason)
        };
        match kinds.iter_mut().find(|(known, _)| like(known)) {
            Some((_, count)) => *count += 1,
            None => kinds.push((each, 1)),
        }
    }
    let line = |(misuse, count): &(&Misuse, usize)| match count {
        1 => format!("  {misuse}"),
        more => format!("  {misuse} ({more} times)"),
    };
    kinds.iter().map(line).collect::<Vec<_>>().join("\n")
}
