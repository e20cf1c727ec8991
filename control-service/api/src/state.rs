//! What the handlers of each listener use. A handler takes the parts that it needs by `State`.

use std::sync::Arc;

use axum::extract::FromRef;
use portcullis_control_config::Principals;
use portcullis_control_domain::configuration::RunningConfiguration;
use portcullis_control_domain::log_throttle::LogThrottle;
use portcullis_control_services::Current;
use portcullis_control_services::enrolment::Enrolment;
use portcullis_control_services::introspection::Providers;
use portcullis_control_services::issuers::Issuers;
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::oauth::TokenEndpoint;
use portcullis_control_services::people::People;
use portcullis_control_services::presence::Presence;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_services::shares::Shares;
use portcullis_control_services::signing::SigningKeys;
use portcullis_control_services::standing::Standing;
use portcullis_control_services::watchers::Watchers;
use portcullis_control_store::Store;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// SHA-256 of the mesh token.
#[derive(Debug, Clone, Copy)]
pub struct MeshToken(pub [u8; 32]);

/// Key of the API-key digests.
#[derive(Clone)]
pub struct Pepper(pub Arc<Zeroizing<[u8; 32]>>);

/// What agents are told of the service itself, and what does not change while it runs.
#[derive(Debug, Clone)]
pub struct ToldToAgents {
    /// `iss` of identity tokens.
    pub identity_issuer: String,
    /// The public key of snapshot pages, as `snapshot.key` of a `pluginConfig` has it.
    pub snapshot_key: String,
}

/// Turns true when the service ends.
#[derive(Debug, Clone)]
pub struct Stopping(pub watch::Receiver<bool>);

macro_rules! state {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }

        $(impl FromRef<$name> for $type {
            fn from_ref(state: &$name) -> Self { state.$field.clone() }
        })*
    };
}

state! {
    /// What the handlers of the mesh API use.
    MeshState {
        /// Where records go, and the snapshot.
        store: Store,
        /// Which worker has which revision.
        rollout: Arc<Rollout>,
        /// Counters.
        metrics: Arc<Metrics>,
        /// What every filter shows.
        token: MeshToken,
        /// Who may read which view.
        principals: Arc<Current<Principals>>,
        /// Providers of opaque tokens.
        providers: Arc<Current<Providers>>,
        /// Which of them may be complained of.
        complaints: Arc<LogThrottle>,
        /// Issuers and their keys.
        issuers: Arc<Issuers>,
        /// What sidecars hold of the mesh API.
        shares: Arc<Shares>,
        /// Certificates of clusters, if they can join.
        enrolment: Option<Arc<Enrolment>>,
        /// When waiting polls end.
        stopping: Stopping,
    }
}

state! {
    /// What the handlers of the agents' listener use.
    AgentsState {
        /// Everything durable.
        store: Store,
        /// Certificates of clusters.
        enrolment: Arc<Enrolment>,
        /// Heartbeats.
        presence: Arc<Presence>,
        /// Keys that sign tokens.
        signing: Arc<SigningKeys>,
        /// What agents are told of the service itself.
        told: Arc<ToldToAgents>,
        /// Counters.
        metrics: Arc<Metrics>,
        /// When waiting calls end.
        stopping: Stopping,
    }
}

state! {
    /// What the handlers of the platform API use.
    PlatformState {
        /// Everything durable.
        store: Store,
        /// Which worker has which revision.
        rollout: Arc<Rollout>,
        /// Heartbeats.
        presence: Arc<Presence>,
        /// Counters.
        metrics: Arc<Metrics>,
        /// Key of the API-key digests.
        pepper: Pepper,
        /// Who is a gateway, and tells the address of its client.
        principals: Arc<Current<Principals>>,
        /// Issuers and their keys.
        issuers: Arc<Issuers>,
        /// Keys that sign tokens.
        signing: Arc<SigningKeys>,
        /// Certificates of clusters, if they can join.
        enrolment: Option<Arc<Enrolment>>,
        /// The token endpoint.
        tokens: Arc<TokenEndpoint>,
        /// People who call with tokens of identity providers.
        people: Arc<People>,
        /// The configuration in use.
        configuration: Arc<Current<RunningConfiguration>>,
        /// Who watches clusters.
        watchers: Arc<Watchers>,
        /// When watches end.
        stopping: Stopping,
    }
}

state! {
    /// What health and metrics tell of.
    OperationsState {
        /// Whether writes are possible, and the snapshot.
        store: Store,
        /// Which worker has which revision.
        rollout: Arc<Rollout>,
        /// Counters.
        metrics: Arc<Metrics>,
        /// Issuers and their keys.
        issuers: Arc<Issuers>,
        /// The configuration in use.
        configuration: Arc<Current<RunningConfiguration>>,
        /// How this replica's configuration stands to what filters have.
        standing: Arc<Current<Standing>>,
        /// When the service is not ready any more.
        stopping: Stopping,
    }
}
