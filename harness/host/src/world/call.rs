//! A callout to another service.

use std::fmt;
use std::time::Duration;

use crate::headers::Printable;
use crate::message::Request;
use crate::vm_id::VmId;

/// HTTP or gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// `proxy_http_call`.
    Http,
    /// `proxy_grpc_call` (unary).
    Grpc,
}

/// How a callout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// On its way; nothing has been answered yet.
    Pending,
    /// Answered, timed out or reset; the module was told.
    Ended,
    /// Cancelled by the module, or its VM died: nobody was told.
    Cancelled,
}

/// A callout that a module made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Names the call, for [`Host::answer`](crate::Host::answer).
    pub id: u64,
    /// HTTP or gRPC.
    pub kind: CallKind,
    /// The cluster that was called.
    pub cluster: String,
    /// Headers (gRPC: `:path` and the initial metadata), body and trailers that were sent.
    pub request: Request,
    /// The module's time-out; zero means none.
    pub timeout: Duration,
    /// The VM that called.
    pub vm: VmId,
    /// When, in virtual time since the host started.
    pub at: Duration,
    /// How it stands.
    pub state: CallState,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.request.headers.get(":method").unwrap_or("?");
        let path = Printable(self.request.headers.get_bytes(":path").unwrap_or_default());
        write!(f, "{} -> {} {method} {path} ({:?})", self.vm, self.cluster, self.state)
    }
}

/// What identifies a call under way.
#[derive(Clone, Debug)]
pub(crate) struct CallStart {
    pub(crate) id: u64,
    pub(crate) kind: CallKind,
    pub(crate) vm: VmId,
    pub(crate) instance: u64,
    pub(crate) root: u32,
    pub(crate) token: u32,
    pub(crate) timeout: Duration,
    pub(crate) started: Duration,
}
