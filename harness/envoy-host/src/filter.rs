//! A filter of the module in the test host's chain: from the host's events to the module's hooks.

use std::ffi::c_void;
use std::rc::Rc;
use std::time::Duration;

use portcullis_engine::worker;
use portcullis_envoy::abi::ConfigFactory;
use portcullis_envoy::abi::exports::{self, EnvoyBuffer, EnvoyHeader, TICK};
use portcullis_testhost::native::{Action, NativeFilter, NativePlugin, PluginHandle, StreamHandle};
use portcullis_testhost::{Callback, HeaderMap};

use crate::callbacks;
use crate::objects::{Config, Metrics, Stream};
use crate::process::Process;

/// A filter configuration of the native module.
pub struct Filter {
    process: Process,
    factory: ConfigFactory,
    name: String,
    config: Vec<u8>,
    /// Once it was accepted.
    running: Option<Rc<Running>>,
}

impl Filter {
    /// A filter of this name with this configuration, made by a module's factory.
    #[must_use]
    pub fn new(process: &Process, factory: ConfigFactory, name: &str, config: impl AsRef<[u8]>) -> Self {
        let (name, config) = (name.to_owned(), config.as_ref().to_vec());
        Self { process: process.clone(), factory, name, config, running: None }
    }

    /// Runs a hook of the configuration, if there is one.
    fn with(&self, hook: impl FnOnce(&Running)) {
        if let Some(running) = &self.running {
            self.process.enter(&running.config.handle, || hook(running));
        }
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A configuration that the module has accepted. Streams hold it too, as Envoy's do.
struct Running {
    process: Process,
    config: Box<Config>,
    module: *const c_void,
}

impl Running {
    fn envoy(&self) -> *mut c_void {
        std::ptr::from_ref::<Config>(&self.config).cast_mut().cast()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: what `config_new` answered, once; its streams hold this and are gone.
        self.process.enter(&self.config.handle, || unsafe { exports::config_destroy(self.module) });
    }
}

impl NativePlugin for Filter {
    fn name(&self) -> &str {
        &self.name
    }

    fn configure(&mut self, handle: PluginHandle) -> Result<(), String> {
        callbacks::offer()?;
        let config = Box::new(Config { handle: handle.clone(), metrics: Rc::new(Metrics::default()) });
        let envoy = std::ptr::from_ref::<Config>(&config).cast_mut().cast();
        let (name, text) = (EnvoyBuffer::of(self.name.as_bytes()), EnvoyBuffer::of(&self.config));
        let factory = self.factory;
        // SAFETY: the configuration outlives the module's part of it, and the buffers outlive the call.
        let module =
            self.process.enter(&handle, || unsafe { exports::config_new(envoy, name, text, factory) });
        if module.is_null() {
            return Err("the module rejects the configuration".to_owned());
        }
        self.running = Some(Rc::new(Running { process: self.process.clone(), config, module }));
        Ok(())
    }

    fn tick_period(&self) -> Duration {
        worker::TICK
    }

    fn on_tick(&mut self) {
        self.on_wake(TICK);
    }

    fn on_wake(&mut self, event: u64) {
        // SAFETY: a live configuration, on the thread that made it.
        self.with(|running| unsafe { exports::config_scheduled(running.envoy(), running.module, event) });
    }

    fn on_call_ended(&mut self, call: u64, answer: Option<(HeaderMap, Vec<u8>)>) {
        let result = u32::from(answer.is_none());
        let (headers, body) = answer.unwrap_or_default();
        let headers: Vec<EnvoyHeader> =
            headers.iter().map(|(name, value)| EnvoyHeader::of(name, value)).collect();
        let chunks: Vec<EnvoyBuffer> = if body.is_empty() { vec![] } else { vec![EnvoyBuffer::of(&body)] };
        let (headers, chunks) = ((headers.as_ptr(), headers.len()), (chunks.as_ptr(), chunks.len()));
        // SAFETY: as above; headers and body live until the hook has returned.
        self.with(|running| unsafe {
            exports::config_callout_done(running.envoy(), running.module, call, result, headers, chunks);
        });
    }

    fn open(&mut self, stream: StreamHandle) -> Box<dyn NativeFilter> {
        let Some(running) = self.running.clone() else { return Box::new(Nothing) };
        let metrics = Rc::clone(&running.config.metrics);
        let stream = Box::new(Stream { handle: stream, metrics, shown: Vec::new().into() });
        let envoy = std::ptr::from_ref::<Stream>(&stream).cast_mut().cast();
        let process = self.process.clone();
        // SAFETY: a live configuration; the stream outlives the module's part of it.
        let module =
            process.enter(stream.handle.plugin(), || unsafe { exports::filter_new(running.module, envoy) });
        Box::new(Opened { process, stream, module, _running: running })
    }
}

/// The filter of a configuration that there is not.
struct Nothing;

impl NativeFilter for Nothing {
    fn on_piece(&mut self, _piece: Callback, _end: bool) -> Action {
        0
    }

    fn on_wake(&mut self, _event: u64) {}

    fn on_complete(&mut self) {}
}

/// A stream in the module.
struct Opened {
    process: Process,
    stream: Box<Stream>,
    module: *const c_void,
    _running: Rc<Running>,
}

impl Opened {
    fn with<T>(&self, hook: impl FnOnce(*mut c_void, *const c_void) -> T) -> T {
        let envoy = std::ptr::from_ref::<Stream>(&self.stream).cast_mut().cast();
        let done = self.process.enter(self.stream.handle.plugin(), || hook(envoy, self.module));
        self.stream.shown.borrow_mut().clear();
        done
    }
}

impl NativeFilter for Opened {
    fn on_piece(&mut self, piece: Callback, end: bool) -> Action {
        // SAFETY of every hook: a live stream of this module, on the thread that made it.
        self.with(|envoy, module| unsafe {
            match piece {
                Callback::RequestHeaders => exports::request_headers(envoy, module, end),
                Callback::RequestBody => exports::request_body(envoy, module, end),
                Callback::RequestTrailers => exports::request_trailers(envoy, module),
                Callback::ResponseHeaders => exports::response_headers(envoy, module, end),
                Callback::ResponseBody => exports::response_body(envoy, module, end),
                _ => exports::response_trailers(envoy, module),
            }
        })
    }

    fn on_wake(&mut self, event: u64) {
        // SAFETY: as above.
        self.with(|envoy, module| unsafe { exports::filter_scheduled(envoy, module, event) });
    }

    fn on_complete(&mut self) {
        // SAFETY: as above.
        self.with(|envoy, module| unsafe { exports::stream_complete(envoy, module) });
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: what `filter_new` answered, once.
        self.with(|_, module| unsafe { exports::filter_destroy(module) });
    }
}
