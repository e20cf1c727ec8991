//! The stages of this crate: one that authenticates, and one that only recognises who was authenticated
//! before.

use portcullis_engine::edge::closed_list::Listed;
use portcullis_engine::edge::resource::asked_resource;
use portcullis_engine::port::{PortResult, Severity, Stream};
use portcullis_engine::reply::OwnedReply;
use portcullis_engine::stage::{Admission, Again, Arrival, Context, Flow, Stage, Unforwarded};
use portcullis_model::config::{PluginConfig, Role};
use portcullis_model::{Reason, Refusal, Told};

use crate::credential::{Classify, STAGE};
use crate::flow::Means;
use crate::forwarded_headers as names;
use crate::keys::KeyRing;
use crate::presented::{Credential, Presented, TokenLocation};
use crate::rejected::{Identified, Rejected, Unidentified};
use crate::{locations, metadata};

/// Authenticates: at the edge by the credential that the client presents, at a sidecar by the identity token
/// that the gateway forwarded.
pub struct Authenticate {
    keys: KeyRing,
    classify: Classify,
}

impl Authenticate {
    /// The stage. `classify` tells the source type of what was verified.
    #[must_use]
    pub fn new(classify: Classify) -> Self {
        Self { keys: KeyRing::default(), classify }
    }

    fn means(&self) -> Means<'_> {
        Means { keys: &self.keys, classify: self.classify }
    }
}

impl Stage for Authenticate {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn admits(&self, config: &PluginConfig) -> bool {
        config.platform_paths || !config.platform_hosts.is_empty()
    }

    fn admit(&self, arrival: &mut Arrival<'_>) -> Admission {
        match arrival.listed() {
            // A preflight is no request of the list, only about one.
            Some(Listed::Endpoint) if !arrival.head.is_preflight() => Admission::Exempt,
            Some(Listed::Platform(place)) if !arrival.head.is_preflight() => Admission::Platform(place),
            Some(Listed::NotThere(reason)) => Admission::Refuse(Refusal::new(STAGE, reason)),
            Some(Listed::WrongMethod(allowed)) => {
                let refusal = Refusal::new(STAGE, Reason::MethodNotAllowed);
                Admission::Refuse(refusal.telling(Told::Allow(allowed)))
            }
            Some(Listed::Endpoint | Listed::Metadata | Listed::Platform(_)) | None => Admission::Next,
        }
    }

    fn on_request_headers(&self, context: &mut Context<'_>) -> Flow {
        if let Some(asked) = asked_resource(context.config, context.head) {
            let body = metadata::document(&asked, context.snapshot.resources(), &context.config.tokens);
            return Flow::Answer(Box::new(metadata_reply(body)));
        }
        if context.exchange.known.is_some() {
            return Flow::Next;
        }
        let identified = match &context.config.role {
            Role::Sidecar { cluster } => self.means().forwarded(context, cluster),
            Role::Edge => {
                let in_query = locations::in_query(context.head.path, &context.config.tokens);
                let presented =
                    Presented::of(context.head, context.headers, &in_query, &context.config.tokens);
                self.means().presented(context, &presented)
            }
        };
        settle(context, identified)
    }

    fn look_again(&self, again: &mut Again<'_>) -> Result<(), Reason> {
        self.means().look_again(again)
    }

    fn forward(&self, context: &mut Context<'_>) -> Result<(), Unforwarded> {
        let Some(known) = &context.exchange.known else { return Ok(()) };
        if context.config.role == Role::Edge {
            strip_credential(context)?;
        }
        let principal = known.principal();
        context.add(names::SUBJECT, principal.subject.as_str())?;
        context.add(names::TENANT, principal.tenant.as_str())?;
        if !known.roles.is_empty() {
            context.add(names::ROLES, &known.roles)?;
        }
        if !known.scopes.is_empty() {
            context.add(names::SCOPES, &known.scopes)?;
        }
        if principal.roles_incomplete {
            context.add(names::ROLES_INCOMPLETE, "true")?;
        }
        Ok(())
    }
}

/// Takes note of who asks, or says how the request goes on without that.
fn settle(context: &mut Context<'_>, identified: Identified) -> Flow {
    match identified {
        Ok(known) => {
            context.exchange.known = Some(known);
            Flow::Next
        }
        Err(Unidentified::Refused(why)) => {
            tell(context, &why);
            context.exchange.refused_part = why.record_part();
            Unidentified::Refused(why).into()
        }
        Err(unidentified) => unidentified.into(),
    }
}

/// Says in the log which claim a verified token was refused for, once a second: who runs the issuer has to know it,
/// and callers bring it about.
fn tell(context: &mut Context<'_>, why: &Rejected) {
    let issuer = why.whose.as_ref().and_then(|whose| whose.issuer.as_ref());
    if let (Some(claim), Some(issuer)) = (&why.claim, issuer)
        && context.link.may_tell_of_a_claim()
    {
        let line = format!("a token of {issuer} is refused for its claim {}", claim.0.escape_debug());
        context.stream.log(Severity::Warning, &line);
    }
}

/// The answer to who asks for the metadata of the protected resource. Anybody may read it, from any origin.
fn metadata_reply(body: String) -> OwnedReply {
    OwnedReply {
        status: 200,
        details: "portcullis_metadata",
        headers: vec![
            ("content-type", "application/json".into()),
            ("cache-control", "public, max-age=60".into()),
        ],
        body: body.into_bytes(),
        grpc_status: None,
    }
}

/// Removes the credential, so that a Data API never sees it.
fn strip_credential(context: &Context<'_>) -> PortResult<()> {
    let (config, head, stream) = (context.config, context.head, context.stream);
    // Other places are looked at again only where there are any: it was done once for the decision.
    if config.tokens.keep || !config.tokens.is_usual() {
        let in_query = locations::in_query(head.path, &config.tokens);
        let presented = Presented::of(head, context.headers, &in_query, &config.tokens);
        if config.tokens.keep && matches!(presented.credential(), Ok(Credential::Bearer(_))) {
            return Ok(());
        }
        if let Some(place) = presented.place() {
            strip_place(stream, place, context)?;
        }
    }
    if head.authorization.is_there() {
        stream.remove_request_header(b"authorization")?;
    }
    if head.api_key.is_there() {
        stream.remove_request_header(config.api_key_header.as_bytes())?;
    }
    Ok(())
}

/// Removes the token from its place and leaves everything else as it is.
fn strip_place(stream: &dyn Stream, place: TokenLocation<'_>, context: &Context<'_>) -> PortResult<()> {
    let tokens = &context.config.tokens;
    match (place, &tokens.cookie, &tokens.query) {
        (TokenLocation::Header(name), ..) => stream.remove_request_header(name),
        (TokenLocation::Cookie(value), Some(cookie), _) => match locations::without_cookie(value, cookie) {
            Some(rest) => stream.set_request_header("cookie", &rest),
            None => stream.remove_request_header(b"cookie"),
        },
        (TokenLocation::Query, _, Some(parameter)) => {
            stream.set_request_header(":path", &locations::without_query(context.head.path, parameter))
        }
        (TokenLocation::Cookie(_) | TokenLocation::Query, ..) => Ok(()),
    }
}

/// Recognises who was authenticated by a plugin before this one, or at a sidecar by the gateway. It is the
/// first stage of plugins that do not authenticate themselves.
pub struct Recognise {
    keys: KeyRing,
    classify: Classify,
}

impl Recognise {
    /// The stage. `classify` tells the source type of a workload.
    #[must_use]
    pub fn new(classify: Classify) -> Self {
        Self { keys: KeyRing::default(), classify }
    }
}

impl Stage for Recognise {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn admits(&self, _config: &PluginConfig) -> bool {
        false
    }

    fn forwards(&self) -> bool {
        false
    }

    fn on_request_headers(&self, context: &mut Context<'_>) -> Flow {
        if context.exchange.known.is_some() {
            return Flow::Next;
        }
        let Role::Sidecar { cluster } = &context.config.role else {
            return Flow::Refuse(Refusal::new(STAGE, Reason::IdentityMissing));
        };
        let identified = Means { keys: &self.keys, classify: self.classify }.forwarded(context, cluster);
        settle(context, identified)
    }

    fn look_again(&self, again: &mut Again<'_>) -> Result<(), Reason> {
        Means { keys: &self.keys, classify: self.classify }.look_again(again)
    }
}
