//! The root context: one per plugin configuration and VM.

use std::rc::Rc;
use std::time::Duration;

use portcullis_host::{CallResponse, ContextId, Host, HostResult, HttpContext, LogLevel, RootContext};
use portcullis_model::config::{self, PluginConfig, Role};
use portcullis_protocol::audit::SIDECAR_HOP;

use crate::http::Request;
use crate::link::{Link, LinkKey};
use crate::stages::Stages;
use crate::vm::{self, SharedLink};

/// Time between ticks: restarts polls, delivers records, ends holds.
const TICK: Duration = Duration::from_millis(50);

/// What a good configuration gives.
#[derive(Clone)]
pub(crate) struct Ready {
    /// The configuration.
    pub config: Rc<PluginConfig>,
    /// The connection to the control service.
    pub link: SharedLink,
    /// What every audit record of this plugin says, encoded.
    pub(crate) audit_part: Rc<[u8]>,
    /// The root context.
    pub(crate) context: ContextId,
}

/// A root context.
struct Root {
    stages: Stages,
    number: u64,
    context: ContextId,
    /// `None` until configured, and for good when the configuration is bad: everything is refused then.
    ready: Option<Ready>,
}

/// Makes the root context of a root id.
#[must_use]
pub fn new_root(_host: &dyn Host, root_id: &[u8]) -> Option<Box<dyn RootContext>> {
    let stages = Stages::of(root_id)?;
    Some(Box::new(Root { stages, number: vm::next_root(), context: ContextId(0), ready: None }))
}

impl Root {
    fn configure(&self, host: &dyn Host, json: HostResult<&[u8]>) -> Option<Ready> {
        let json = json.map_err(|e| host.log(LogLevel::Critical, &format!("pluginConfig: {e}"))).ok()?;
        let config = match config::parse(json) {
            Ok(config) => config,
            Err(errors) => {
                for error in errors {
                    host.log(LogLevel::Critical, &error.to_string());
                }
                return None;
            }
        };
        let link = vm::link(&LinkKey::of(&config), || Link::new(host, &config))?;
        let audit_part = {
            let link = link.try_borrow().ok()?;
            let hop = if config.role == Role::Edge { self.stages.name } else { SIDECAR_HOP };
            portcullis_audit::hop(link.stream, &link.proxy, hop, config.mode.as_str()).into()
        };
        Some(Ready { config: Rc::new(config), link, audit_part, context: self.context })
    }
}

impl RootContext for Root {
    fn on_create(&mut self, id: ContextId) {
        self.context = id;
    }

    /// Always answers true: a worker whose configuration fails where the canary's did not would be
    /// skipped by Envoy, and its requests would pass unguarded. A bad configuration refuses everything.
    fn on_configure(&mut self, host: &dyn Host, config: HostResult<&[u8]>) -> bool {
        self.ready = self.configure(host, config);
        if self.ready.is_none() {
            let name = self.stages.name;
            host.log(
                LogLevel::Critical,
                &format!("portcullis {name}: not configured, every request is refused"),
            );
        }
        if let Err(error) = host.set_tick_period(TICK) {
            host.log(LogLevel::Critical, &format!("no timer, no snapshot will arrive: {error}"));
        }
        true
    }

    fn http_context(&mut self, _host: &dyn Host, id: ContextId) -> Box<dyn HttpContext> {
        Box::new(Request::new(id, self.number, self.stages, self.ready.clone()))
    }

    fn on_tick(&mut self, host: &dyn Host) {
        if let Some(ready) = &self.ready
            && let Ok(mut link) = ready.link.try_borrow_mut()
        {
            link.on_tick(host, self.number);
        }
    }

    fn on_http_call_response(&mut self, host: &dyn Host, response: CallResponse) {
        if let Some(ready) = &self.ready
            && let Ok(mut link) = ready.link.try_borrow_mut()
        {
            link.on_answer(host, response);
        }
    }

    fn take_wakes(&mut self) -> Vec<ContextId> {
        match &self.ready {
            Some(ready) => {
                ready.link.try_borrow_mut().map(|mut l| l.take_ready(self.number)).unwrap_or_default()
            }
            None => Vec::new(),
        }
    }
}
