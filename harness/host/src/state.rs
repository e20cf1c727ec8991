//! What the host keeps beside an instance: its contexts, the callback under way, what it may touch.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use wasmtime::{Memory, StoreLimits, StoreLimitsBuilder, TypedFunc};

use crate::codes::{Callback, LogLevel, MetricKind, Status};
use crate::flow::{Dir, StreamRef};
use crate::headers::HeaderMap;
use crate::profile::Profile;
use crate::spec::{PluginSpec, RootKey, VmKey};
use crate::vm_id::VmId;
use crate::world::{LogLine, World};

/// Far more than compilers make, far less than what would hurt the machine.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;
const MAX_TABLES: usize = 16;

/// What a module asked for and what happens after its callback has returned, as in Envoy.
#[derive(Debug)]
pub(crate) enum Action {
    Continue(Dir),
    Close,
    LocalReply { status: u32, details: String, headers: HeaderMap, body: Vec<u8>, grpc_status: i32 },
}

/// The parts of a stream that its plugin may touch at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub(crate) headers: [bool; 2],
    pub(crate) body: [bool; 2],
    pub(crate) trailers: [bool; 2],
    pub(crate) end_of_stream: bool,
    pub(crate) log: bool,
}

/// The answer of a callout while its callback runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallAnswer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// One context: of a plugin (root) or of a stream.
pub(crate) struct Ctx {
    pub(crate) root: u32,
    pub(crate) spec: Arc<PluginSpec>,
    pub(crate) stream: Option<(StreamRef, usize)>,
    /// The exchange that the stream belongs to.
    pub(crate) exchange: Option<u64>,
    pub(crate) window: Window,
    /// The plugin's configuration is readable only while it is configured.
    pub(crate) configuring: bool,
    pub(crate) answer: Option<CallAnswer>,
    pub(crate) status: (u32, String),
    /// Token and id of callouts that have not ended.
    pub(crate) calls: Vec<(u32, u64)>,
    /// `proxy_on_done` returned false; waits for `proxy_done`.
    pub(crate) done_pending: bool,
}

impl Ctx {
    pub(crate) fn new(root: u32, spec: &Arc<PluginSpec>, stream: Option<(StreamRef, usize)>) -> Self {
        Self {
            root,
            spec: Arc::clone(spec),
            stream,
            exchange: None,
            window: Window::default(),
            configuring: false,
            answer: None,
            status: (0, String::new()),
            calls: Vec::new(),
            done_pending: false,
        }
    }
}

pub(crate) struct VmState {
    pub(crate) vm: VmId,
    /// Unique in the host: a reloaded VM has another one.
    pub(crate) instance: u64,
    pub(crate) vm_key: VmKey,
    pub(crate) vm_id: String,
    pub(crate) vm_config: Arc<[u8]>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) world: Arc<World>,
    pub(crate) limits: StoreLimits,
    pub(crate) memory: Option<Memory>,
    pub(crate) malloc: Option<TypedFunc<(i32,), i32>>,
    pub(crate) contexts: HashMap<u32, Ctx>,
    /// The living root contexts by what makes two plugins the same.
    pub(crate) roots: BTreeMap<RootKey, u32>,
    next_context: u32,
    pub(crate) callback: Callback,
    pub(crate) current: u32,
    pub(crate) effective: u32,
    /// Only the calls that Envoy allows during the module's start.
    pub(crate) restricted: bool,
    /// A local reply was sent in this callback: its return value no longer counts.
    pub(crate) stop_iteration: bool,
    pub(crate) actions: VecDeque<(u32, Action)>,
    /// Root contexts whose `proxy_done` was called in this callback.
    pub(crate) finished: Vec<u32>,
    pub(crate) metrics: HashMap<u32, (MetricKind, String)>,
    pub(crate) next_metric: [u32; 3],
    /// The last token given, by kind of call.
    pub(crate) last_token: [u32; 2],
    pub(crate) hostcalls: u64,
    pub(crate) profile: Profile,
}

impl VmState {
    pub(crate) fn new(vm: VmId, spec: &PluginSpec, vm_key: VmKey, world: &Arc<World>) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(world.limits.memory_bytes)
            .table_elements(MAX_TABLE_ELEMENTS)
            .tables(MAX_TABLES)
            .build();
        Self {
            vm,
            instance: world.next_id(),
            vm_key,
            vm_id: spec.vm_id.clone(),
            vm_config: Arc::clone(&spec.vm_config),
            env: spec.env.clone(),
            world: Arc::clone(world),
            limits,
            memory: None,
            malloc: None,
            contexts: HashMap::new(),
            roots: BTreeMap::new(),
            next_context: 1,
            callback: Callback::Start,
            current: 0,
            effective: 0,
            restricted: false,
            stop_iteration: false,
            actions: VecDeque::new(),
            finished: Vec::new(),
            metrics: HashMap::new(),
            next_metric: [4, 5, 6],
            last_token: [0, 1],
            hostcalls: 0,
            profile: Profile::default(),
        }
    }

    pub(crate) fn bind(&mut self, memory: Option<Memory>, malloc: Option<TypedFunc<(i32,), i32>>) {
        self.memory = memory;
        self.malloc = malloc;
    }

    pub(crate) fn enter(&mut self, callback: Callback, context: u32) {
        self.callback = callback;
        self.current = context;
        self.effective = 0;
        self.stop_iteration = false;
    }

    pub(crate) fn leave(&mut self) {
        self.effective = 0;
    }

    pub(crate) fn add_context(&mut self, make: impl FnOnce(u32) -> Ctx) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        self.contexts.insert(id, make(id));
        id
    }

    pub(crate) fn add_stream_context(
        &mut self,
        root: u32,
        spec: &Arc<PluginSpec>,
        stream: StreamRef,
        slot: usize,
        exchange: u64,
    ) -> u32 {
        let mut context = Ctx::new(root, spec, Some((stream, slot)));
        context.exchange = Some(exchange);
        self.add_context(|_| context)
    }

    pub(crate) fn set_configuring(&mut self, root: u32, configuring: bool) {
        if let Some(context) = self.contexts.get_mut(&root) {
            context.configuring = configuring;
        }
    }

    pub(crate) fn set_answer(&mut self, root: u32, answer: Option<CallAnswer>) {
        if let Some(context) = self.contexts.get_mut(&root) {
            context.answer = answer;
        }
    }

    pub(crate) fn set_logging(&mut self, context: u32, log: bool) {
        if let Some(context) = self.contexts.get_mut(&context) {
            context.window.log = log;
        }
    }

    /// Writes a line to the host's log.
    pub(crate) fn log(&self, level: LogLevel, message: String) {
        let context = self.context_id();
        let exchange = self.contexts.get(&context).and_then(|context| context.exchange);
        let mut world = self.world.lock();
        let at = world.clock.elapsed();
        world.logs.push(LogLine { at, vm: self.vm, context, exchange, level, message });
    }

    /// The context that hostcalls are for: the effective one if it was set, else that of the callback.
    pub(crate) fn context_id(&self) -> u32 {
        if self.effective != 0 && self.contexts.contains_key(&self.effective) {
            self.effective
        } else {
            self.current
        }
    }

    pub(crate) fn context(&self) -> Result<&Ctx, Status> {
        self.contexts.get(&self.context_id()).ok_or(Status::BadArgument)
    }

    pub(crate) fn context_mut(&mut self) -> Result<&mut Ctx, Status> {
        let id = self.context_id();
        self.contexts.get_mut(&id).ok_or(Status::BadArgument)
    }

    pub(crate) fn root_id(&self) -> Result<u32, Status> {
        self.context().map(|context| context.root)
    }

    /// The root context of the context that hostcalls are for.
    pub(crate) fn root_mut(&mut self) -> Result<&mut Ctx, Status> {
        let root = self.root_id()?;
        self.contexts.get_mut(&root).ok_or(Status::BadArgument)
    }

    pub(crate) fn root(&self) -> Result<&Ctx, Status> {
        let root = self.root_id()?;
        self.contexts.get(&root).ok_or(Status::BadArgument)
    }
}
