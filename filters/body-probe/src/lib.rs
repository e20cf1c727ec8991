//! A stage that reads bodies, for the tests of both targets: no stage that is shipped reads any.
//!
//! The root `body-probe` is `gateway` with one more stage. A request that says in `x-probe-body` how many
//! bytes may be read has its body read: `<length>:<that many bytes>` is let on, nothing at all is refused as
//! `header_invalid`, and anything else as `cross_site_refused`. So a body that was cut, or of which a piece is
//! missing, is told from a whole one, and one that is empty from one that was never looked at.

use portcullis_engine::exchange::request_state::RequestState;
use portcullis_engine::{Context, Flow, Root, Stage};
use portcullis_model::{Reason, Refusal};

/// The header that says how many bytes may be read.
pub const MOST: &str = "x-probe-body";

/// The root `body-probe`; `None` for another name.
#[must_use]
pub fn root(id: &[u8]) -> Option<&'static Root> {
    static ROOT: Root = Root { id: "body-probe", whole: true, stages };
    (id == b"body-probe").then_some(&ROOT)
}

fn stages() -> Vec<Box<dyn Stage>> {
    let mut stages = portcullis_roots::root(b"gateway").map(|root| (root.stages)()).unwrap_or_default();
    stages.push(Box::new(BodyProbe));
    stages
}

struct BodyProbe;

impl Stage for BodyProbe {
    fn name(&self) -> &'static str {
        "body-probe"
    }

    fn reads_body(&self) -> bool {
        true
    }

    fn on_request_headers(&self, context: &mut Context<'_>) -> Flow {
        let most = context.headers.iter().find(|(name, _)| *name == MOST.as_bytes());
        let most = most.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        most.map_or(Flow::Next, Flow::NextWithBody)
    }

    fn on_request_body(&self, _state: &mut RequestState, body: &[u8]) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal::new(self.name(), reason));
        if body.is_empty() {
            return refuse(Reason::HeaderInvalid);
        }
        let mut parts = body.splitn(2, |byte| *byte == b':');
        let length = parts.next().and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
        let whole = length.is_some_and(|length: usize| parts.next().is_some_and(|rest| rest.len() == length));
        if whole { Ok(()) } else { refuse(Reason::CrossSiteRefused) }
    }
}

/// As a Wasm module of its own.
#[cfg(target_family = "wasm")]
mod module {
    use portcullis_proxy_wasm_abi::{Host, RootContext};

    fn new_root(_host: &dyn Host, root_id: &[u8]) -> Option<Box<dyn RootContext>> {
        portcullis::new_root_of(super::root(root_id))
    }

    portcullis::module!(new_root);
}
