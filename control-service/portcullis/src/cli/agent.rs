//! `portcullis agent`: what runs in a data cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_agent::accesses;
use portcullis_agent::configuration::Shared;
use portcullis_agent::connect::Server;
use portcullis_agent::doctor::Doctor;
use portcullis_agent::folder::Folder;
use portcullis_agent::join::join;
use portcullis_agent::run::{Joining, Options, STATUS, Status, proxy, run};
use portcullis_agent::tunnel::{HostPort, Wiring};
use portcullis_control_config::LogConfig;
use portcullis_control_domain::clock::{now_ms, rfc3339};
use tokio::signal::unix::{SignalKind, signal};

use super::agent_error::AgentError;
use super::error::CommandError;
use super::output::{log_to_stderr, print, print_all};

/// Where the agent keeps what it has.
#[derive(Debug, Args)]
pub(super) struct AgentFolder {
    /// The agent's folder, for nobody but its owner.
    #[arg(long, env = "PORTCULLIS_AGENT_FOLDER", default_value = "/var/lib/portcullis-agent", global = true)]
    folder: PathBuf,
    /// The HTTP proxy that lets connections out, `http://NAME:PASSWORD@HOST:PORT`; unless given, that of HTTPS_PROXY and
    /// NO_PROXY. Best given by the variable: others on the machine can read a command line.
    #[arg(long, env = "PORTCULLIS_AGENT_PROXY", hide_env_values = true, global = true)]
    proxy: Option<String>,
}

/// What an agent does.
#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Join a platform by a join token. Killed at any step, it goes on from there when it is started again.
    Join {
        /// The platform's address for agents.
        #[arg(long, env = "PORTCULLIS_AGENT_SERVER", value_name = "URL")]
        server: Server,
        /// The file with the join token; `-` for standard input.
        #[arg(long)]
        token_file: PathBuf,
    },
    /// Run: heartbeats, certificate, keys, tunnel. Ends with SIGTERM.
    Run(Run),
    /// Say what is wrong and what to do about it. Exit codes: 0 all is well; 1 something is wrong.
    Doctor {
        #[command(flatten)]
        tunnel: Tunnel,
        /// The platform's address for agents, where this one has not joined.
        #[arg(long, env = "PORTCULLIS_AGENT_SERVER", value_name = "URL")]
        server: Option<Server>,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show who came through the tunnel, the newest last.
    Accesses {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show how a running agent is doing. Exit codes: 0 all is well; 1 something is wrong.
    Status {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
}

/// How something is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The tunnel and what it leads to.
#[derive(Debug, Args)]
pub(super) struct Tunnel {
    /// The Data API.
    #[arg(
        long,
        env = "PORTCULLIS_AGENT_DATA_API",
        default_value = "data-api:8080",
        value_name = "HOST:PORT"
    )]
    data_api: HostPort,
    /// The admin page of the tunnel's Envoy.
    #[arg(long, default_value = "127.0.0.1:15000", value_name = "ADDRESS")]
    envoy_admin: SocketAddr,
    /// Where the tunnel's Envoy finds the way through the HTTP proxy, if there is one.
    #[arg(long, default_value = "127.0.0.1:15443", value_name = "ADDRESS")]
    forward: SocketAddr,
    /// Where the Data API reads the keys that identity tokens are verified by; they stand in the agent's folder besides.
    #[arg(long, value_name = "FILE")]
    identity_keys: Option<PathBuf>,
}

impl Tunnel {
    fn wiring(&self) -> Wiring {
        Wiring { data_api: self.data_api.clone(), admin: self.envoy_admin, forward: self.forward }
    }
}

/// How an agent runs.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    tunnel: Tunnel,
    /// The platform's address for agents: with --token-file the agent joins by itself, also anew, when its certificate is
    /// good no more and another token is in the file.
    #[arg(long, env = "PORTCULLIS_AGENT_SERVER", requires = "token_file", value_name = "URL")]
    server: Option<Server>,
    /// The file with the join token.
    #[arg(long, requires = "server")]
    token_file: Option<PathBuf>,
    /// Where its health page and metrics are.
    #[arg(long, default_value = "127.0.0.1:15021", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The Envoy to run for the tunnel; unless given, one runs beside with tunnel/envoy.json of the folder.
    #[arg(long, value_name = "PROGRAM")]
    envoy: Option<PathBuf>,
    /// Logs as JSON.
    #[arg(long)]
    log_json: bool,
}

impl Agent {
    /// Runs a command of the agent.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(super) fn run(self, at: &AgentFolder) -> Result<(), CommandError> {
        let folder = Folder::at(&at.folder);
        let named = at.proxy.clone();
        match self {
            Self::Join { server, token_file } => {
                let folder = folder.take().map_err(AgentError::from)?;
                let token =
                    Joining { server: server.clone(), token_file }.token().map_err(AgentError::from)?;
                let proxy = proxy(&server, named.as_deref()).map_err(AgentError::from)?;
                let joined = block_on(join(&folder, &server, proxy, &token, now_ms()))?;
                print(&joined.map_err(AgentError::from)?.to_string())
            }
            Self::Run(wanted) => wanted.run(folder, named),
            Self::Doctor { tunnel, server, output } => {
                let wiring = tunnel.wiring();
                let doctor =
                    Doctor { folder, server, proxy: named, wiring, identity_keys: tunnel.identity_keys };
                let findings = block_on(doctor.examine())?;
                match output {
                    Format::Table => {
                        print_all(&findings.iter().map(ToString::to_string).collect::<Vec<_>>())?
                    }
                    Format::Json => print(&format!("{:#}", serde_json::json!(findings)))?,
                }
                match findings.iter().filter(|finding| !finding.ok).count() {
                    0 => Ok(()),
                    wrong => Err(CommandError::Found(wrong)),
                }
            }
            Self::Accesses { limit, output } => {
                let found = accesses::last(&folder, limit).map_err(AgentError::from)?;
                match output {
                    Format::Json => print(&format!("{:#}", serde_json::json!(found))),
                    Format::Table => print_all(&found.iter().map(line).collect::<Vec<_>>()),
                }
            }
            Self::Status { output } => status(&folder, output),
        }
    }
}

impl Run {
    fn run(self, folder: Folder, proxy: Option<String>) -> Result<(), CommandError> {
        let folder = folder.take().map_err(AgentError::from)?;
        log_to_stderr(&LogConfig { json: self.log_json, level: "info".to_owned() });
        let joining = self.server.zip(self.token_file);
        let options = Options {
            joining: joining.map(|(server, token_file)| Joining { server, token_file }),
            proxy,
            listen: self.listen,
            shared: Shared { identity_keys: self.tunnel.identity_keys.clone() },
            wiring: self.tunnel.wiring(),
            envoy: self.envoy,
        };
        // One thread, which lives as long as the process: the tunnel's Envoy ends with it.
        block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Runtime)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Runtime)?;
            let stop = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("stopping");
            };
            Ok(run(folder, options, stop).await.map_err(AgentError::from)?)
        })?
    }
}

/// On this thread, which lives as long as the process.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(CommandError::Runtime)?.block_on(work))
}

/// One access, for people.
fn line(access: &accesses::Access) -> String {
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let accesses::Access { time, tenant, subject, source_type, method, path, status, request_id, .. } =
        access;
    format!(
        "{time} {} {} {} {} {} {} {}",
        word(tenant),
        word(subject),
        word(source_type),
        word(method),
        word(path),
        status.unwrap_or_default(),
        word(request_id)
    )
}

/// After so long without a word the agent does not run any more.
const SILENT: Duration = Duration::from_secs(120);

fn status(folder: &Folder, output: Format) -> Result<(), CommandError> {
    let told: Option<Status> = folder.read_json(STATUS).map_err(AgentError::from)?;
    let told = told.ok_or_else(|| AgentError::Silent(folder.path().to_owned()))?;
    let now = now_ms();
    let mut troubles = told.troubles(now);
    let silent = now.saturating_sub(told.written_ms) / 1000;
    if silent > SILENT.as_secs() {
        troubles.insert(0, format!("the agent has said nothing for {silent} s: does it run?"));
    }
    if output == Format::Json {
        print(&format!("{:#}", serde_json::json!({"status": told, "troubles": troubles})))?;
    } else {
        let date = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), rfc3339);
        let word = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        print(&format!("cluster      {}", word(told.cluster.map(|id| id.to_string()))))?;
        print(&format!("tenant       {}", word(told.tenant.map(|id| id.to_string()))))?;
        print(&format!("state        {}", word(told.state)))?;
        print(&format!("certificate  {}, good until {}", word(told.serial), date(told.not_after_ms)))?;
        print(&format!("renewed      from {} on", date(told.renew_after_ms)))?;
        for (task, progress) in &told.tasks {
            let how = progress.failure.clone().unwrap_or_else(|| "ok".to_owned());
            print(&format!("{:<12} {how} (last good {})", task.as_str(), date(progress.last_good_ms)))?;
        }
        print_all(&troubles)?;
    }
    if troubles.is_empty() { Ok(()) } else { Err(CommandError::Found(troubles.len())) }
}
