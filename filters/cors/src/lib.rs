//! The CORS stage: it answers preflights, and says on answers which pages of other origins may use them.
//!
//! A preflight, a refusal and an answer to an unknown caller follow from the origin alone, by all policies that name
//! it: what is said of one cluster would tell that there is that cluster. Only when a request is let on, the policy
//! of its own cluster counts.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod rule;

use std::sync::Arc;

use portcullis_engine::answer::Answer;
use portcullis_engine::closed_list::Listed;
use portcullis_engine::port::PortResult;
use portcullis_engine::stage::{Admission, Arrival, Context, Flow, Stage};
use portcullis_identity::ClusterId;
use portcullis_model::browser::{BrowserRules, CorsPolicy};
use portcullis_model::config::{PluginConfig, Role};
use portcullis_model::resources::Resources;
use portcullis_model::{Reason, Refusal};

use rule::{ALLOW_CREDENTIALS, ALLOW_ORIGIN, EXPOSE, Grant, Granted, public_preflight};

/// The stage's name.
const STAGE: &str = "cors";

/// Answers preflights, and says who may use answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cors;

/// What is kept of a request until its answer comes.
#[derive(Debug)]
enum Asked {
    /// It is about nobody: every page may use the answer.
    Public,
    /// By a page of this origin, or by none, in the light of these policies.
    By(Option<Box<[u8]>>, Policies),
}

/// The policies there are.
#[derive(Debug, Clone)]
struct Policies {
    plugin: Arc<BrowserRules>,
    /// Of single clusters, as soon as they are known.
    clusters: Option<Arc<Resources>>,
}

impl Policies {
    fn all(&self) -> impl Iterator<Item = &CorsPolicy> {
        let clusters = self.clusters.iter().flat_map(|resources| resources.cors_policies());
        self.plugin.cors.iter().chain(clusters)
    }

    fn of(&self, cluster: &ClusterId) -> Option<&CorsPolicy> {
        let own = self.clusters.as_ref().and_then(|resources| resources.of(cluster)?.browser.cors.as_ref());
        own.or(self.plugin.cors.as_ref())
    }
}

impl Stage for Cors {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn admits(&self, config: &PluginConfig) -> bool {
        config.browser.cors.is_some() || config.platform_paths || config.resource.is_some()
    }

    fn forwards(&self) -> bool {
        false
    }

    /// Notes what a refusal says that comes before policy is looked at.
    fn admit(&self, arrival: &mut Arrival<'_>) -> Admission {
        let (config, head) = (arrival.config, arrival.head);
        let Some(listed) = arrival.listed() else {
            if config.browser.cors.is_some() {
                let policies = Policies { plugin: Arc::clone(&config.browser), clusters: None };
                arrival.exchange.kept.keep(Asked::By(head.origin.map(Box::from), policies));
            }
            return Admission::Next;
        };
        arrival.exchange.kept.keep(Asked::Public);
        let answers = !arrival.backlog && !matches!(listed, Listed::WrongMethod(_));
        if answers && head.is_preflight() {
            let method = if head.asked_method == Some(b"POST") { "POST" } else { "GET, HEAD" };
            return Admission::Answer(Box::new(public_preflight(method)));
        }
        Admission::Next
    }

    fn on_request_headers(&self, context: &mut Context<'_>) -> Flow {
        let resources = context.snapshot.resources();
        let is_preflight = context.head.is_preflight() && context.config.role == Role::Edge;
        if !is_preflight && !resources.has_cors() {
            return Flow::Next;
        }
        let kept = &mut context.exchange.kept;
        if matches!(kept.get(), Some(Asked::Public)) {
            return Flow::Next;
        }
        let plugin = Arc::clone(&context.config.browser);
        let policies = Policies { plugin, clusters: Some(Arc::clone(resources)) };
        let origin = context.head.origin;
        kept.keep(Asked::By(origin.map(Box::from), policies.clone()));
        if !is_preflight {
            return Flow::Next;
        }
        match Granted::by(policies.all(), origin.unwrap_or_default()) {
            Some(granted) => Flow::Answer(Box::new(granted.preflight())),
            None => Flow::Refuse(Refusal::new(STAGE, Reason::PreflightRefused)),
        }
    }

    fn on_response_headers(&self, answer: &mut Answer<'_>) -> PortResult<()> {
        let exchange = answer.exchange;
        let (origin, policies) = match exchange.kept.get() {
            None => return Ok(()),
            Some(Asked::Public) => return say(answer, Grant::public()),
            Some(Asked::By(origin, policies)) => (origin, policies),
        };
        // Once a request may go to its cluster, the policy of that one counts, and no other. Without any the
        // upstream may say what it likes.
        let own = exchange.permit.as_ref().map(|permit| policies.of(permit.cluster()));
        if own == Some(None) {
            return Ok(());
        }
        let Some(origin) = origin else { return answer.add("vary", "origin") };
        let granted = match own {
            Some(policy) => Granted::by(policy.into_iter(), origin),
            None => Granted::by(policies.all(), origin),
        };
        match granted {
            Some(granted) => say(answer, granted.grant(origin)),
            // What the upstream says of that does not count.
            None => {
                answer.add("vary", "origin")?;
                answer.remove(ALLOW_ORIGIN)?;
                answer.remove(ALLOW_CREDENTIALS)
            }
        }
    }
}

/// Says to a page that it may use the answer.
fn say(answer: &mut Answer<'_>, grant: Grant) -> PortResult<()> {
    answer.add("vary", "origin")?;
    answer.set(ALLOW_ORIGIN, grant.origin)?;
    answer.set(EXPOSE, grant.exposed)?;
    match grant.credentials {
        true => answer.set(ALLOW_CREDENTIALS, "true"),
        false => answer.remove(ALLOW_CREDENTIALS),
    }
}
