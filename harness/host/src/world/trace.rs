//! The ordered record of hostcalls, and of calls that the ABI does not allow where they were made.

use std::fmt;
use std::time::Duration;

use crate::codes::{Callback, Status};
use crate::headers::Printable;
use crate::vm_id::VmId;

/// One hostcall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostcall {
    /// Virtual time since the host started.
    pub at: Duration,
    /// The VM that called.
    pub vm: VmId,
    /// The context that the call was for.
    pub context: u32,
    /// The exchange it was made for, if any.
    pub(crate) exchange: Option<u64>,
    /// The callback during which it was made.
    pub callback: Callback,
    /// The call's name, for example `proxy_get_property`.
    pub name: &'static str,
    /// The arguments as text, in the ABI's order, without pointers.
    pub arguments: Vec<String>,
    /// What the call returned beside its status, as text.
    pub results: Vec<String>,
    /// The status; `None` if the call trapped. WASI calls have their error number in `results`.
    pub status: Option<Status>,
}

impl fmt::Display for Hostcall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.arguments.join(", "))?;
        match self.status {
            None => f.write_str(" -> trap")?,
            Some(Status::Ok) if self.results.is_empty() => {}
            Some(Status::Ok) => write!(f, " -> {}", self.results.join(", "))?,
            Some(status) => write!(f, " -> {status}")?,
        }
        Ok(())
    }
}

/// All hostcalls of a host, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    calls: Vec<Hostcall>,
}

impl Trace {
    /// The calls in order.
    pub fn calls(&self) -> &[Hostcall] {
        &self.calls
    }

    /// How often a call of this name was made.
    pub fn count(&self, name: &str) -> usize {
        self.calls.iter().filter(|call| call.name == name).count()
    }

    /// The part of the trace for which `keep` says so.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Hostcall) -> bool) -> Self {
        Self { calls: self.calls.iter().filter(|call| keep(call)).cloned().collect() }
    }

    pub(crate) fn push(&mut self, call: Hostcall) {
        self.calls.push(call);
    }

    pub(crate) fn clear(&mut self) {
        self.calls.clear();
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = None;
        for call in &self.calls {
            let here = (call.vm, call.context, call.callback);
            if place != Some(here) {
                writeln!(f, "{}#{} {}", call.vm, call.context, call.callback)?;
                place = Some(here);
            }
            writeln!(f, "  {call}")?;
        }
        Ok(())
    }
}

/// A hostcall that the ABI does not allow where it was made. Envoy answers it in a way that a plugin
/// should not build on; other hosts may answer differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// Why the call was wrong.
    pub reason: String,
    /// The VM that called.
    pub vm: VmId,
    /// The context that the call was for.
    pub context: u32,
    /// The callback during which it was made.
    pub callback: Callback,
    /// The call's name.
    pub name: &'static str,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, vm, context, callback, name } = self;
        write!(f, "{name} in {callback} ({vm}, context {context}): {reason}")
    }
}

/// An argument or result, before it is made readable.
pub(crate) enum Arg<'a> {
    Number(u64),
    Signed(i64),
    Name(&'a str),
    Bytes(&'a [u8]),
    Path(&'a [u8]),
    Map(usize),
}

impl fmt::Display for Arg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
            Self::Bytes(bytes) => write!(f, "\"{}\"", Printable(bytes)),
            Self::Path(path) => {
                let parts: Vec<_> = path.split(|byte| *byte == 0).map(|p| Printable(p).to_string()).collect();
                f.write_str(&parts.join("."))
            }
            Self::Map(count) => write!(f, "{count} pairs"),
        }
    }
}

/// A hostcall that is under way.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) arguments: Vec<String>,
    pub(crate) results: Vec<String>,
}
