//! The command line.

mod admins;
mod agent;
mod agent_error;
mod audit;
mod backup;
mod check;
mod client;
mod clusters;
mod config_file;
mod diff;
mod enrolment;
mod error;
mod explain;
mod exported;
mod keys;
mod lint;
mod output;
mod plugins;
mod policy;
mod proxies;
mod store;
mod table;
mod test_identity;
mod tokens;
mod verify;
mod watch;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use clap::{Parser, Subcommand};
use portcullis_control_config::{Config, SCHEMA};
use portcullis_control_contract::MAX_LIFE_S;
use portcullis_control_domain::clock::now_ms;

use crate::serve::serve;
use config_file::ConfigFile;
use error::CommandError;
use output::{log_to_stderr, print, print_all, warn_of};

/// Portcullis: guards data clusters that must never be exposed.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run beside a data cluster: join the platform, keep certificate, keys and tunnel, and tell what is wrong.
    Agent {
        #[command(flatten)]
        folder: agent::AgentFolder,
        #[command(subcommand)]
        command: agent::Agent,
    },
    /// Run the control service.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// Gets the bound addresses as JSON once the service listens.
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Make the first administrator and print the token, once.
    BootstrapAdmin {
        #[command(flatten)]
        config: ConfigFile,
        /// Make another one although there is one already. This is audited.
        #[arg(long)]
        break_glass: bool,
        /// Seconds until its token ends, up to ten years.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MAX_LIFE_S))]
        expires_in: Option<u64>,
    },
    /// Show who the token says that you are, and what that role may do.
    Whoami {
        #[command(flatten)]
        connection: client::Connection,
    },
    /// Make, list and revoke tokens of the platform API: administrators', and those of lesser roles.
    Admins {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: admins::Admins,
    },
    /// Save, check and restore the whole store.
    Backup {
        #[command(subcommand)]
        command: backup::BackupCommand,
    },
    /// Change the key that seals the service's secrets. The service may run.
    SealingKey {
        #[command(subcommand)]
        command: SealingKeyCommand,
    },
    /// Print the public key of the snapshot: `snapshot.key` of every plugin's configuration.
    SnapshotKey {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Register, list, suspend, resume and retire data clusters.
    Clusters {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: clusters::Clusters,
    },
    /// Check the configuration, compare it with a running service, or print its JSON schema.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Tell what a gateway would decide about a credential, and why. Reads it from standard input.
    Explain {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        question: explain::Question,
    },
    /// Find what rendered manifests let in, or do not do, although Istio takes them. Exit codes: 0 nothing; 1 something; 2 it
    /// cannot be told.
    Lint(lint::Lint),
    /// Try what manifests let in, before they are live, on a mesh of this machine: `policy test FILE`, `policy diff BEFORE
    /// AFTER --cases FILE`. Exit codes: 0 all as expected, or no change; 1 something is not; 2 it cannot be tried.
    #[command(disable_help_flag = true)]
    Policy(policy::Policy),
    /// Show how issuers' keys are doing.
    Issuers {
        #[command(flatten)]
        connection: client::Connection,
    },
    /// Show and change the keys that sign identity and service tokens.
    SigningKeys {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: tokens::SigningKeys,
    },
    /// Make, list, rotate and revoke the clients of the token endpoint.
    Token {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: tokens::Clients,
    },
    /// Revoke tokens, subjects, sessions, keys and clients.
    Revocations {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: tokens::Revocations,
    },
    /// Make identity tokens for the tests of a Data API, with a key of your own. Needs no service.
    TestIdentity(test_identity::TestIdentity),
    /// Make, list, rotate and revoke API keys.
    Keys {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: keys::Keys,
    },
    /// Show which worker of which proxy has which revision of the snapshot.
    Proxies {
        #[command(flatten)]
        connection: client::Connection,
    },
    /// Migrate, check and copy the database.
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Print the OpenAPI 3.1 description of the platform API. Needs no service.
    Openapi,
    /// Look at the audit log.
    Audit {
        #[command(flatten)]
        connection: client::Connection,
        #[command(subcommand)]
        command: audit::Audit,
    },
}

#[derive(Debug, Subcommand)]
enum SealingKeyCommand {
    /// Put a new key into the first line of the key file and seal everything by it; a key that somebody has put there
    /// already, or that the command of store.sealingKeyCommand prints first, is taken. The old ones stay in the file:
    /// backups that were made before need them.
    Rotate {
        #[command(flatten)]
        config: ConfigFile,
        /// Remove the old keys from the file. Backups that were made before cannot be restored with it any more.
        #[arg(long)]
        forget_old: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with a file.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Manifests whose `WasmPlugin`s are checked in place of the configuration, by the filter's own parser;
        /// `-` for standard input: `kustomize build DIR | portcullis config check --plugin -`.
        #[arg(long, value_name = "FILE")]
        plugin: Vec<PathBuf>,
    },
    /// Say in what a file differs from what a running service uses, and what of it a reload takes over. Exit codes: 0 in
    /// nothing; 1 in something; 2 it cannot be told.
    Diff {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        connection: client::Connection,
    },
    /// Print the JSON schema of control.yaml, for editors.
    Schema {
        /// That of `pluginConfig` in its place.
        #[arg(long)]
        plugin: bool,
    },
}

/// How long a service that has ended waits for what it still asks of its database.
const LEAVE: Duration = Duration::from_secs(5);

impl Cli {
    /// Runs the command. Exit codes: 0 done; 1 failed, or `config diff`, `lint` or `policy` found something; 2 wrong
    /// usage, or one of these three failed; 3 done, but not everywhere yet; 4 `explain`: the credential would be refused.
    #[must_use]
    pub fn run(self) -> ExitCode {
        self.command.run().map_or_else(|error| error.tell(), |()| ExitCode::SUCCESS)
    }
}

impl Command {
    fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Serve { config, ready_file } => {
                let config = Config::load(&config.path)?;
                log_to_stderr(&config.log);
                let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
                let outcome = runtime.block_on(serve(config, ready_file.as_deref()));
                // A database that hangs keeps a thread for as long as it does.
                runtime.shutdown_timeout(LEAVE);
                Ok(outcome?)
            }
            Self::BootstrapAdmin { config, break_glass, expires_in } => {
                let mut database = config.database()?;
                let token =
                    database.bootstrap_administrator(break_glass, expires_in.map(|s| now_ms() / 1000 + s))?;
                print(token.ok_or(CommandError::AdministratorExists)?.reveal())
            }
            Self::Backup { command } => command.run(),
            Self::SealingKey { command: SealingKeyCommand::Rotate { config, forget_old } } => {
                let mut database = config.database()?;
                let resealed = database.rotate_sealing_key(forget_old)?;
                print(&format!(
                    "{resealed} secrets are sealed by the new key; keep a copy of it, apart from backups"
                ))
            }
            Self::SnapshotKey { config } => {
                let database = config.database()?;
                let key = database.secrets().snapshot_public_key();
                print(&base64::engine::general_purpose::STANDARD.encode(key))
            }
            Self::Config { command: ConfigCommand::Check { plugin, .. } } if !plugin.is_empty() => {
                let checked = plugins::check(&plugin)?;
                print_all(&checked.plugins)?;
                warn_of(&checked.warnings)?;
                print(&format!("{} plugins are good", checked.plugins.len()))
            }
            Self::Config { command: ConfigCommand::Check { config, .. } } => {
                let config = Config::load(&config.path)?;
                print_all(&check::report(&config))?;
                warn_of(&config.warnings())?;
                print("the configuration is good")
            }
            Self::Config { command: ConfigCommand::Diff { config, connection } } => {
                let config = Config::load(&config.path).map_err(CommandError::DiffFile)?;
                run(diff::diff(&connection, &config))
            }
            Self::Config { command: ConfigCommand::Schema { plugin: false } } => print(SCHEMA.trim_end()),
            Self::Config { command: ConfigCommand::Schema { plugin: true } } => {
                print(&format!("{:#}", portcullis_plugin_check::schema()))
            }
            Self::Agent { folder, command } => command.run(&folder),
            Self::Lint(wanted) => {
                let linted = wanted.run()?;
                print(linted.output.trim_end())?;
                if linted.found > 0 { Err(CommandError::Found(linted.found)) } else { Ok(()) }
            }
            Self::Policy(wanted) => Err(wanted.hand_over().into()),
            Self::Explain { config, question } => Ok(explain::run(&Config::load(&config.path)?, &question)?),
            Self::TestIdentity(wanted) => print(&wanted.run()?),
            Self::Whoami { connection } => run(whoami::whoami(&connection)),
            Self::Admins { connection, command } => run(admins::admins(&connection, command)),
            Self::Issuers { connection } => run(tokens::issuers(&connection)),
            Self::SigningKeys { connection, command } => run(tokens::signing_keys(&connection, command)),
            Self::Token { connection, command } => run(tokens::clients(&connection, command)),
            Self::Revocations { connection, command } => run(tokens::revocations(&connection, command)),
            Self::Clusters { connection, command } => run(clusters::clusters(&connection, command)),
            Self::Keys { connection, command } => run(keys::keys(&connection, command)),
            Self::Store { command } => command.run(),
            Self::Openapi => print(&format!("{:#}", portcullis_control_api::openapi())),
            Self::Proxies { connection } => run(proxies::proxies(&connection)),
            Self::Audit { connection, command } => run(audit::audit(&connection, command)),
        }
    }
}

fn run<E>(command: impl Future<Output = Result<(), E>>) -> Result<(), CommandError>
where
    CommandError: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(CommandError::Runtime)?.block_on(command)?)
}
