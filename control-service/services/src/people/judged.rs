//! Judging tokens of people: one after the other, over one snapshot that is kept until there is a newer one. So whoever
//! calls without a good token has no more memory of the service than a place in the queue.

use std::sync::{Arc, mpsc};

use portcullis_authn::jws::Jws;
use portcullis_authn::{Rejected, Verified, jwt, revocable_names};
use portcullis_control_config::{AccessTokens, PlatformCallers};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_snapshot::Hub;
use portcullis_identity::KeyId;
use portcullis_identity::ids::IssuerId;
use portcullis_model::Reason;
use portcullis_model::mapping::TenantRule;
use portcullis_model::policy::IssuerDocument;
use portcullis_model::state::{SnapshotState, TokenIssuer};
use portcullis_protocol::wire::{Page, Record, RecordKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use zeroize::Zeroizing;

use super::nobody::NobodyKnown;
use crate::judge::{self, Unjudged};

/// Tokens that wait to be judged at most.
const PLACES: usize = 64;
/// The same of addresses that must wait for a pause to end: they take no place from anybody else.
const PLACES_OF_SUSPECTS: usize = 4;

/// What came of one look at a token.
pub(super) type Judged = Result<Box<Known>, Refusal>;

/// Whom a token names.
pub(super) struct Known {
    /// What it says.
    pub(super) verified: Verified,
    /// Which of the configured issuers says so.
    pub(super) configured: IssuerId,
    /// The names of all revocations that would end it.
    pub(super) revoked_by: Vec<String>,
}

pub(super) struct Refusal {
    /// Why a gateway would refuse it.
    pub(super) why: Box<Rejected>,
    /// The key that is missing.
    pub(super) missing: Option<(IssuerId, KeyId)>,
}

type Answer = Result<Judged, NobodyKnown>;

/// A token that is to be judged.
struct Question {
    callers: Arc<Vec<PlatformCallers>>,
    token: Arc<Zeroizing<String>>,
    answer: oneshot::Sender<Answer>,
    _place: OwnedSemaphorePermit,
}

/// A thread that judges: verifying RSA takes its time, and a snapshot is bound to its thread.
pub(super) struct Judge {
    questions: mpsc::Sender<Question>,
    places: Arc<Semaphore>,
    places_of_suspects: Arc<Semaphore>,
}

impl Judge {
    pub(super) fn start(hub: Arc<Hub>) -> Self {
        let (questions, asked) = mpsc::channel::<Question>();
        let thread = std::thread::Builder::new().name("people".to_owned()).spawn(move || {
            let mut kept = None;
            while let Ok(Question { callers, token, answer, _place }) = asked.recv() {
                if !answer.is_closed() {
                    // Who asked may have gone.
                    let _ = answer.send(judged(&hub, &mut kept, &callers, &token));
                }
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "tokens of people cannot be judged");
        }
        Self::asking(questions)
    }

    fn asking(questions: mpsc::Sender<Question>) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { questions, places: places(PLACES), places_of_suspects: places(PLACES_OF_SUSPECTS) }
    }

    pub(super) async fn ask(
        &self,
        callers: Arc<Vec<PlatformCallers>>,
        token: Arc<Zeroizing<String>>,
        is_suspect: bool,
    ) -> Answer {
        let places = if is_suspect { &self.places_of_suspects } else { &self.places };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| NobodyKnown::Busy)?;
        let gone = || NobodyKnown::Failed("nobody judges tokens of people".to_owned());
        let (answer, answered) = oneshot::channel();
        let question = Question { callers, token, answer, _place: place };
        self.questions.send(question).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// The snapshot by which the last token was judged.
struct Kept {
    revision: u64,
    callers: Arc<Vec<PlatformCallers>>,
    snapshot: SnapshotState,
}

fn judged(hub: &Hub, kept: &mut Option<Kept>, callers: &Arc<Vec<PlatformCallers>>, token: &str) -> Answer {
    let revision = hub.revision();
    let is_current = |kept: &Kept| kept.revision == revision && Arc::ptr_eq(&kept.callers, callers);
    if let Some(kept) = kept.as_ref().filter(|kept| is_current(kept)) {
        return Ok(look(token, &kept.snapshot));
    }
    // A token of nobody's issuer is not worth the revocations.
    let of_issuers = open(hub, callers, &[RecordKind::Issuer])?;
    if !names_an_issuer(token, &of_issuers) {
        return Ok(look(token, &of_issuers));
    }
    // There are never two of them.
    *kept = None;
    let snapshot = open(hub, callers, &[RecordKind::Issuer, RecordKind::Revocation])?;
    let judged = look(token, &snapshot);
    *kept = Some(Kept { revision, callers: Arc::clone(callers), snapshot });
    Ok(judged)
}

fn open(hub: &Hub, callers: &[PlatformCallers], kinds: &[RecordKind]) -> Result<SnapshotState, NobodyKnown> {
    let snapshot = judge::open(&for_platform(hub.excerpt(kinds), callers), hub.seed());
    snapshot.map_err(|error| NobodyKnown::Failed(error.to_string()))
}

fn names_an_issuer(token: &str, snapshot: &SnapshotState) -> bool {
    Jws::parse(token.as_bytes()).is_ok_and(|jws| TokenIssuer::of(&jws.claims, snapshot).is_some())
}

fn look(token: &str, snapshot: &SnapshotState) -> Judged {
    let judged = judge::token(token, snapshot, now_ms() / 1000, None).and_then(|verified| {
        let name = verified.principal.issuer.as_ref();
        let issuer =
            name.and_then(|name| snapshot.issuer_of_name(name)).map(|document| document.issuer.clone());
        let configured = issuer.ok_or(Reason::IssuerUnknown)?;
        let revoked_by = revocable_names(&verified.principal, snapshot);
        Ok(Box::new(Known { verified, configured, revoked_by }))
    });
    judged.map_err(|unjudged| {
        let why = match unjudged {
            Unjudged::Refused(why) => why,
            // No issuer of people has a provider that is asked.
            Unjudged::Asks(_) => Reason::CredentialUnsupported.into(),
        };
        let unknown =
            (why.reason == Reason::KeyUnknown).then(|| jwt::unknown_key(token.as_bytes(), snapshot));
        let missing = unknown.flatten().map(|(document, key)| (document.issuer.clone(), key));
        Refusal { why: Box::new(why), missing }
    })
}

/// The issuers whose people may call, as they count for the platform API, and all revocations.
fn for_platform(mut page: Page, callers: &[PlatformCallers]) -> Page {
    page.records
        .retain_mut(|record| record.kind != RecordKind::Issuer as i32 || adapt(record, callers).is_some());
    page
}

/// What differs at the platform API; `None` of an issuer whose people may not call.
fn adapt(record: &mut Record, callers: &[PlatformCallers]) -> Option<()> {
    let mut document: IssuerDocument = serde_json::from_slice(&record.value).ok()?;
    let own = callers.iter().find(|callers| callers.issuer == document.issuer)?;
    document.audiences.clone_from(&own.audiences);
    // What a gateway takes on purpose is not taken here by that.
    document.any_token_use = false;
    match &own.access_tokens {
        AccessTokens::Type => document.token_types = vec!["at+jwt".to_owned()],
        AccessTokens::Claim(claim) => document.required_claims.push(claim.clone()),
        AccessTokens::Audience => {}
    }
    if let Some(tenant) = &own.tenant {
        document.claims.tenant = TenantRule::Fixed(tenant.clone());
    }
    record.value = serde_json::to_vec(&document).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn so_many_wait_at_most_and_suspects_take_no_place_of_others() {
        let (questions, asked) = mpsc::channel();
        let judge = Judge::asking(questions);
        let ask = |is_suspect| {
            let asks = judge.ask(Arc::default(), Arc::new(Zeroizing::new(String::new())), is_suspect);
            tokio::time::timeout(Duration::ZERO, asks)
        };
        for (is_suspect, places) in [(true, PLACES_OF_SUSPECTS), (false, PLACES)] {
            for _ in 0..places {
                assert!(ask(is_suspect).await.is_err(), "it waits");
            }
            // Those who asked have gone, and what they asked still waits.
            assert!(matches!(ask(is_suspect).await, Ok(Err(NobodyKnown::Busy))));
        }
        drop(asked.recv());
        assert!(ask(true).await.is_err(), "there is a place again");
        assert!(matches!(ask(true).await, Ok(Err(NobodyKnown::Busy))));
    }
}
