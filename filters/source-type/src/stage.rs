//! The stage: a caller without a source type goes no further, and the others carry theirs upstream.

use portcullis_engine::stage::{Context, Flow, Stage, Unforwarded};
use portcullis_model::config::PluginConfig;
use portcullis_model::{Reason, Refusal};

/// The stage's name.
const STAGE: &str = "source-type";

/// The header that tells upstreams and `AuthorizationPolicy` the source type.
pub const SOURCE_TYPE_HEADER: &str = "x-portcullis-source-type";

/// Requires a source type, and forwards it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequireSourceType;

impl Stage for RequireSourceType {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn admits(&self, _config: &PluginConfig) -> bool {
        false
    }

    fn on_request_headers(&self, context: &mut Context<'_>) -> Flow {
        match context.exchange.known.as_ref().and_then(|known| known.identity()) {
            Some(_) => Flow::Next,
            None => Flow::Refuse(Refusal::new(STAGE, Reason::SourceTypeUnknown)),
        }
    }

    fn forward(&self, context: &mut Context<'_>) -> Result<(), Unforwarded> {
        if let Some(identity) = context.exchange.known.as_ref().and_then(|known| known.identity()) {
            context.add(SOURCE_TYPE_HEADER, identity.source_type.as_str())?;
        }
        Ok(())
    }
}
