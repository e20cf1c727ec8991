//! Providers that are asked about tokens: for a request, and again while it is open.

use std::sync::Arc;

use portcullis_engine::cache::{Basis, CachedIdentity};
use portcullis_engine::exchange::request_state::OpaqueToken;
use portcullis_engine::introspection::{Introspected, LONGEST_MS};
use portcullis_engine::link::Link;
use portcullis_engine::stage::{Again, Context, Ticket};
use portcullis_engine::waiting::Awaited;
use portcullis_model::Reason;
use portcullis_model::policy::IntrospectionDocument;
use portcullis_model::state::SnapshotState;

use crate::credential::{Verified, kind};
use crate::introspection;
use crate::presented::Credential;
use crate::rejected::Unidentified;

/// How long an identity lasts whose provider wants to be asked for every request: as long as the identity
/// token that goes with the request.
const ONE_REQUEST_S: u64 = 60;

/// How long an answer holds for an open stream at least, in seconds: also of a provider that wants to be asked
/// for every request.
const ONE_ANSWER_S: u64 = 5;

/// Time between two looks whether a provider has answered, in milliseconds.
const ASK_MS: u64 = 200;

/// How long a stream goes on whose provider does not answer, in seconds.
const UNANSWERED_S: u64 = 10;

/// The provider of an opaque token.
pub(crate) fn provider<'t>(
    token: &'t [u8],
    snapshot: &SnapshotState,
) -> Option<(&'t str, Arc<IntrospectionDocument>)> {
    let text = std::str::from_utf8(token).ok()?;
    let provider = snapshot.introspection_of(text)?;
    introspection::is_opaque(token).then(|| (text, Arc::clone(provider)))
}

/// What a provider says of a token that is active, and for how many seconds that holds.
pub(crate) fn answer(
    context: &mut Context<'_>,
    token: &str,
    provider: &Arc<IntrospectionDocument>,
) -> Result<(Arc<[u8]>, u64), Unidentified> {
    let digest = opaque_digest(context.link, provider, token);
    context.link.read_clock(context.stream);
    let now_ms = context.link.now_ms;
    let since_ms = context.waited.token.map(|(since_ms, _)| since_ms);
    match context.link.introspections.find(digest, now_ms, since_ms) {
        Some(Introspected::Inactive) => return Err(Reason::TokenInactive.into()),
        Some(Introspected::Active { claims, fresh_s }) => return Ok((claims, fresh_s)),
        None => {}
    }
    match context.waited.token {
        None => context.link.ask(context.stream, digest, provider, token)?,
        Some((_, until_ms)) if context.link.introspections.is_asking(digest) && now_ms < until_ms => {}
        Some(_) => return Err(Reason::IntrospectionUnavailable.into()),
    }
    let waits = (now_ms, now_ms.saturating_add(LONGEST_MS));
    let (_, until_ms) = *context.waited.token.get_or_insert(waits);
    Err(Unidentified::Waits(Ticket { awaited: Awaited::Token(digest), until_ms }))
}

/// An answer holds no longer than its provider wants it to.
pub(crate) fn holds_for(verified: &mut Verified, fresh_s: u64, now_s: u64) {
    let lasts = if fresh_s == 0 { ONE_REQUEST_S } else { fresh_s };
    let ends = &mut verified.principal.expires_at;
    *ends = (*ends).min(now_s.saturating_add(lasts));
}

/// Keeps a token that its provider was asked about beside its request, so that its provider can be asked again while that is open.
/// `kept`: the provider's answer holds for a while. A request whose token finds no room is refused: it could not be
/// watched.
pub(crate) fn remember_opaque(
    context: &mut Context<'_>,
    credential: Credential<'_>,
    known: &CachedIdentity,
    kept: bool,
) -> Result<(), Reason> {
    let is_asked = matches!(known.basis, Basis::Introspection(_) | Basis::IntrospectedToken(..));
    if let (true, Credential::Bearer(token)) = (is_asked, credential) {
        let ends = known.principal().expires_at;
        let one_answer = context.now_s.saturating_add(ONE_ANSWER_S);
        let text = std::str::from_utf8(token).map_err(|_| Reason::CredentialMalformed)?;
        context.exchange.token = Some(OpaqueToken {
            token: context.link.introspections.kept.keep(text).ok_or(Reason::IntrospectionBusy)?,
            good_until_s: if kept { ends } else { ends.min(one_answer) },
            asked_ms: None,
        });
    }
    Ok(())
}

/// Asks a provider again about a token, once its last answer is over: what it says, where it says something new.
/// `is_current`: policy says what it said when the request was let through.
pub(crate) fn ask_again(
    again: &mut Again<'_>,
    provider: &Arc<IntrospectionDocument>,
    is_current: bool,
) -> Result<Option<Arc<[u8]>>, Reason> {
    let (now_s, now_ms) = (again.now_s(), again.link.now_ms);
    let token = again.exchange.token.as_mut().ok_or(Reason::Internal)?;
    let digest = opaque_digest(again.link, provider, token.token.text());
    match again.link.introspections.find(digest, now_ms, token.asked_ms) {
        Some(Introspected::Inactive) => return Err(Reason::TokenInactive),
        Some(Introspected::Active { claims, fresh_s }) => {
            token.asked_ms = None;
            token.good_until_s = now_s.saturating_add(fresh_s.max(ONE_ANSWER_S));
            let at_s = token.good_until_s;
            again.look_at(at_s);
            return Ok(Some(claims));
        }
        None if is_current && token.asked_ms.is_none() && now_s < token.good_until_s => {
            let at_s = token.good_until_s;
            again.look_at(at_s);
            return Ok(None);
        }
        None => {}
    }
    if now_s > token.good_until_s.saturating_add(UNANSWERED_S) {
        return Err(Reason::IntrospectionUnavailable);
    }
    // Another stream of the same token may have asked: its answer is this one's, too.
    token.asked_ms.get_or_insert(now_ms);
    if !again.link.introspections.is_asking(digest) {
        // What cannot be asked now is asked later, for a while.
        let _ = again.link.ask(again.stream, digest, provider, token.token.text());
    }
    again.grounds.look_at(now_ms.saturating_add(ASK_MS));
    Ok(None)
}

/// The name of an opaque token where answers about it are kept: another one as soon as its provider is asked
/// in another way.
fn opaque_digest(link: &Link, provider: &IntrospectionDocument, token: &str) -> u128 {
    let whose = [provider.name.as_bytes(), b"\0", provider.config_digest.as_bytes(), b"\0"].concat();
    link.identities.digest(kind::OPAQUE, &[&whose, token.as_bytes()].concat())
}
