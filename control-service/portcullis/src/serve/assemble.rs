//! Opening everything that the handlers need.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_control_api::{
    AgentsState, MeshState, MeshToken, OperationsState, Pepper, PlatformState, Stopping, ToldToAgents,
};
use portcullis_control_config::{Config, Principals};
use portcullis_control_domain::configuration::RunningConfiguration;
use portcullis_control_services::Current;
use portcullis_control_services::enrolment::{Enrolment, EnrolmentError};
use portcullis_control_services::introspection::Providers;
use portcullis_control_services::issuers::Issuers;
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::oauth::TokenEndpoint;
use portcullis_control_services::people::People;
use portcullis_control_services::presence::Presence;
use portcullis_control_services::replicas::Replicas;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_services::shares::Shares;
use portcullis_control_services::signing::SigningKeys;
use portcullis_control_services::standing::Standing;
use portcullis_control_services::watchers::Watchers;
use portcullis_control_snapshot::{Settings, Workers};
use portcullis_control_store::{Database, Location, Store, StoreError, Term};
use tokio::sync::watch;

/// What runs, and what a reload changes.
pub(super) struct Running {
    pub(super) store: Store,
    pub(super) replicas: Arc<Replicas>,
    pub(super) rollout: Arc<Rollout>,
    pub(super) presence: Arc<Presence>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) signing: Arc<SigningKeys>,
    pub(super) enrolment: Option<Arc<Enrolment>>,
    pub(super) providers: Arc<Current<Providers>>,
    pub(super) principals: Arc<Current<Principals>>,
    pub(super) people: Arc<People>,
    pub(super) configuration: Arc<Current<RunningConfiguration>>,
    /// The configuration as it is now.
    pub(super) config: Current<Config>,
    pub(super) standing: Arc<Current<Standing>>,
    pub(super) pepper: Pepper,
    /// The term in which the configuration was published, if this replica led.
    pub(super) led: Option<Term>,
}

/// What the handlers of the listeners use.
pub(super) struct States {
    pub(super) mesh: MeshState,
    pub(super) platform: PlatformState,
    pub(super) operations: OperationsState,
    /// Where agents are listened to.
    pub(super) agents: Option<AgentsState>,
}

/// Opens everything that the handlers need.
pub(super) async fn assemble(
    config: &Config,
    location: Location,
    stopping: watch::Receiver<bool>,
) -> Result<(Running, States), StoreError> {
    let Opened { store, pepper, snapshot_key } = open(location, config.settings()).await?;
    store.limit_tenants(config.policy.tenant_limits);
    store.judge_clusters_by(config.clusters.rules);
    let metrics = Arc::new(Metrics::default());
    let issuers = Issuers::new(store.clone(), Arc::clone(&metrics)).await?;
    let workers = Arc::new(Workers::new(config.worker_forget));
    let rollout = Arc::new(Rollout::new(store.clone(), Arc::clone(&workers)));
    let replicas = Arc::new(Replicas::new(store.clone(), Arc::clone(&workers)));
    let signing = SigningKeys::new(store.clone(), Arc::clone(&issuers), Arc::clone(&rollout), config).await?;
    let enrolment = enrolment(&store, config).await?;
    let as_of = store.hub().revision();
    let (known, clusters) = (store.known_clusters().await?, &config.clusters);
    let presence = Arc::new(Presence::new(known, as_of, clusters.offline_after, clusters.rules));
    let led = store.term();
    // Last of all that can fail: it begins to fetch.
    let led = match issuers.apply(&config.policy).await {
        Ok(()) => led,
        // It is published when this replica leads again.
        Err(StoreError::Superseded) => None,
        Err(error) => return Err(error),
    };
    let providers = Providers::new(&config.policy.introspection, Some(Arc::clone(&replicas)));
    let providers = Arc::new(Current::new(providers));
    let principals = Arc::new(Current::new(config.policy.principals.clone()));
    let callers = config.policy.platform_callers.clone();
    let people = Arc::new(People::new(store.clone(), Arc::clone(&issuers), callers));
    let settings = config.document.value().clone();
    let configuration = RunningConfiguration { settings, ..RunningConfiguration::default() };
    let configuration = Arc::new(Current::new(configuration));
    let (config_now, standing) = (Current::new(config.clone()), Arc::default());
    let running = Running {
        store,
        replicas,
        rollout,
        presence,
        issuers,
        signing,
        enrolment,
        providers,
        principals,
        people,
        configuration,
        config: config_now,
        standing,
        pepper,
        led,
    };
    let shared = Shared { metrics, stopping: Stopping(stopping), snapshot_key };
    let states = states(config, &running, shared);
    Ok((running, states))
}

/// The certificates of agents, where these are listened to.
async fn enrolment(store: &Store, config: &Config) -> Result<Option<Arc<Enrolment>>, StoreError> {
    let Some(agents) = config.agents.clone() else { return Ok(None) };
    let enrolment = Enrolment::new(store.clone(), agents).await.map_err(|error| match error {
        EnrolmentError::Store(error) => error,
        other => StoreError::Database(other.to_string()),
    });
    Ok(Some(Arc::new(enrolment?)))
}

/// The database, and what of its secrets is used beside it.
struct Opened {
    store: Store,
    pepper: Pepper,
    /// The public half of the key that signs snapshot pages.
    snapshot_key: String,
}

/// Opens the database, which blocks.
async fn open(location: Location, settings: Settings) -> Result<Opened, StoreError> {
    let opening = tokio::task::spawn_blocking(move || {
        let database = Database::open_to_serve(&location)?;
        let pepper = Pepper(Arc::new(database.secrets().api_key_pepper.clone()));
        let snapshot_key = STANDARD.encode(database.secrets().snapshot_public_key());
        Ok(Opened { store: Store::start(database, settings)?, pepper, snapshot_key })
    });
    opening.await.map_err(|error| StoreError::Database(error.to_string()))?
}

/// What several listeners use and no reload changes.
struct Shared {
    metrics: Arc<Metrics>,
    stopping: Stopping,
    snapshot_key: String,
}

fn states(config: &Config, running: &Running, shared: Shared) -> States {
    let Running {
        store,
        rollout,
        presence,
        issuers,
        signing,
        enrolment,
        providers,
        principals,
        people,
        configuration,
        standing,
        pepper,
        ..
    } = running;
    let Shared { metrics, stopping, snapshot_key } = shared;
    let connections = config.listeners.limits.connections;
    let tokens = TokenEndpoint::new(store.clone(), Arc::clone(signing), Arc::clone(providers), connections);
    let mesh = MeshState {
        store: store.clone(),
        rollout: Arc::clone(rollout),
        metrics: Arc::clone(&metrics),
        token: MeshToken(config.mesh_token_digest),
        principals: Arc::clone(principals),
        providers: Arc::clone(providers),
        complaints: Arc::default(),
        issuers: Arc::clone(issuers),
        shares: Arc::new(Shares::new(connections)),
        enrolment: enrolment.clone(),
        stopping: stopping.clone(),
    };
    let identity_issuer = config.identity.issuer.clone();
    let agents = enrolment.as_ref().map(|enrolment| AgentsState {
        store: store.clone(),
        enrolment: Arc::clone(enrolment),
        presence: Arc::clone(presence),
        signing: Arc::clone(signing),
        told: Arc::new(ToldToAgents { identity_issuer, snapshot_key }),
        metrics: Arc::clone(&metrics),
        stopping: stopping.clone(),
    });
    let platform = PlatformState {
        store: store.clone(),
        rollout: Arc::clone(rollout),
        presence: Arc::clone(presence),
        metrics: Arc::clone(&metrics),
        pepper: pepper.clone(),
        principals: Arc::clone(principals),
        issuers: Arc::clone(issuers),
        signing: Arc::clone(signing),
        enrolment: enrolment.clone(),
        tokens: Arc::new(tokens),
        people: Arc::clone(people),
        configuration: Arc::clone(configuration),
        watchers: Arc::new(Watchers::new(store.clone(), Arc::clone(people))),
        stopping: stopping.clone(),
    };
    let operations = OperationsState {
        store: store.clone(),
        rollout: Arc::clone(rollout),
        metrics,
        issuers: Arc::clone(issuers),
        configuration: Arc::clone(configuration),
        standing: Arc::clone(standing),
        stopping,
    };
    States { mesh, platform, operations, agents }
}
