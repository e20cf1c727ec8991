//! The CORS stage: it answers preflights, and says on answers which pages of other origins may use them.
//!
//! A preflight, a refusal and an answer to an unknown caller follow from the origin alone, by all policies that name
//! it: what is said of one cluster would tell that there is that cluster. Only when a request is let on, the policy
//! of its own cluster counts.
//!
//! With cookies that is not enough, because they come with whatever any page makes a browser send. So a refusal may
//! be read with them only by pages that the plugin's own policy names for that, or, where the cluster is known to be
//! the caller's, the policy of that one. A preflight grants them by all policies: whether the request that follows
//! may use its cookie is looked at there, before it goes on.

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

use portcullis_engine::edge::closed_list::Listed;
use portcullis_engine::exchange::answer::Answer;
use portcullis_engine::exchange::request_state::Kept;
use portcullis_engine::head::Head;
use portcullis_engine::port::PortResult;
use portcullis_engine::reply::OwnedReply;
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
    /// It is a preflight by a page of this origin.
    Preflight(Box<[u8]>, Policies),
}

/// The policies there are.
#[derive(Debug, Clone)]
struct Policies {
    plugin: Arc<BrowserRules>,
    /// Of single clusters, as soon as they are known.
    clusters: Option<Arc<Resources>>,
}

impl Policies {
    /// Those that are known before any snapshot is.
    fn of_plugin(config: &PluginConfig) -> Self {
        Self { plugin: Arc::clone(&config.browser), clusters: None }
    }

    fn all(&self) -> impl Iterator<Item = &CorsPolicy> {
        let clusters = self.clusters.iter().flat_map(|resources| resources.cors_policies());
        self.plugin.cors.iter().chain(clusters)
    }

    fn of(&self, cluster: &ClusterId) -> Option<&CorsPolicy> {
        match &self.clusters {
            Some(resources) => resources.cors_of(cluster, &self.plugin),
            None => self.plugin.cors.as_ref(),
        }
    }
}

impl Stage for Cors {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn admits(&self, config: &PluginConfig) -> bool {
        let open = config.platform_paths || config.resource.is_some() || !config.platform_hosts.is_empty();
        open || config.browser.cors.is_some()
    }

    fn forwards(&self) -> bool {
        false
    }

    /// Notes what a refusal says that comes before policy is looked at.
    fn admit(&self, arrival: &mut Arrival<'_>) -> Admission {
        let (config, head) = (arrival.config, arrival.head);
        let listed = match arrival.listed() {
            // At a host of the platform no cluster has a say, neither now nor later.
            Some(Listed::Platform(_)) if head.is_preflight() && !arrival.backlog => {
                return at_platform(config, head, &mut arrival.exchange.kept);
            }
            None | Some(Listed::Platform(_) | Listed::NotThere(_)) => {
                if config.browser.cors.is_some() {
                    let asked = Asked::By(head.origin.map(Box::from), Policies::of_plugin(config));
                    arrival.exchange.kept.keep(asked);
                }
                return Admission::Next;
            }
            Some(listed) => listed,
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
        let (true, Some(origin)) = (is_preflight, origin) else {
            kept.keep(Asked::By(origin.map(Box::from), policies));
            return Flow::Next;
        };
        match preflight(origin, policies, kept) {
            Ok(reply) => Flow::Answer(reply),
            Err(refusal) => Flow::Refuse(refusal),
        }
    }

    fn on_response_headers(&self, answer: &mut Answer<'_>) -> PortResult<()> {
        let exchange = answer.exchange;
        let (origin, policies) = match exchange.kept.get() {
            None => return Ok(()),
            Some(Asked::Public) => return say(answer, Grant::public()),
            Some(Asked::Preflight(origin, policies)) => {
                return say_of(answer, Granted::by(policies.all(), origin), origin);
            }
            Some(Asked::By(origin, policies)) => (origin, policies),
        };
        // Once a request may go to its cluster, the policy of that one counts, and no other. Without any the
        // upstream may say what it likes.
        let own = exchange.permit.as_ref().map(|permit| policies.of(permit.cluster()));
        if own == Some(None) {
            return Ok(());
        }
        let Some(origin) = origin else { return answer.add("vary", "origin") };
        if let Some(policy) = own {
            return say_of(answer, Granted::by(policy.into_iter(), origin), origin);
        }
        let with_cookies = match &exchange.cluster {
            Some(cluster) if exchange.owned => policies.of(cluster),
            _ => policies.plugin.cors.as_ref(),
        };
        let with_cookies = with_cookies.is_some_and(|policy| policy.allows_credentials(origin));
        let granted = Granted::by(policies.all(), origin);
        say_of(answer, granted.map(|granted| granted.with_credentials(with_cookies)), origin)
    }
}

/// Answers a preflight at a host of the platform by the plugin's own policy.
fn at_platform(config: &PluginConfig, head: &Head<'_>, kept: &mut Kept) -> Admission {
    match preflight(head.origin.unwrap_or_default(), Policies::of_plugin(config), kept) {
        Ok(reply) => Admission::Answer(reply),
        Err(refusal) => Admission::Refuse(refusal),
    }
}

/// Answers a preflight by policies, or refuses it.
fn preflight(origin: &[u8], policies: Policies, kept: &mut Kept) -> Result<Box<OwnedReply>, Refusal> {
    let reply = match Granted::by(policies.all(), origin) {
        Some(granted) => Ok(Box::new(granted.preflight())),
        None => Err(Refusal::new(STAGE, Reason::PreflightRefused)),
    };
    kept.keep(Asked::Preflight(origin.into(), policies));
    reply
}

/// Says to a page whether it may use the answer.
fn say_of(answer: &mut Answer<'_>, granted: Option<Granted<'_>>, origin: &[u8]) -> PortResult<()> {
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
