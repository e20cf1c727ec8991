//! The commands.

mod choice;
mod console;
mod curl;
mod demo;
mod policy;
mod samples;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use portcullis_mesh::block::DEFAULT_BLOCK;
use portcullis_mesh::kubernetes::Istio;
use portcullis_mesh::scenario::Scenario;
use portcullis_mesh::tools::{self, Tools};
use portcullis_mesh::{Options, Result, Target, paths, process};

use self::choice::Choice;
use self::console::say;

/// The local Portcullis mesh: real istiod, real Envoys, the control service and tunnels on one machine.
#[derive(Debug, Parser)]
#[command(name = "portcullis-mesh", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install istiod, istioctl, kustomize, kubeconform, func-e, Envoy and PostgreSQL into the cache folder.
    Tools {
        /// Envoy version, instead of the pinned default.
        #[arg(long, env = "PORTCULLIS_ENVOY")]
        envoy: Option<String>,
        /// A further major version of PostgreSQL, such as 14, that tests can run on.
        #[arg(long, value_name = "MAJOR")]
        postgres: Vec<String>,
        /// A further set of Go programs: the name of a folder of harness/tools.
        #[arg(long)]
        set: Vec<String>,
    },
    /// Install what images are built with, and print its folder alone.
    CrossCompiler,
    /// Keep the mesh running, and apply edits of istio-manifests as they are saved.
    Up(MeshArgs),
    /// Start a mesh, run the scenario, show the audit records, stop.
    Demo(MeshArgs),
    /// Try what manifests let in, before they are live.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Run the sample Data API alone.
    DataApi(samples::DataApiArgs),
    /// Run the sample identity provider alone.
    Idp(samples::IdpArgs),
}

#[derive(Debug, Args)]
struct MeshArgs {
    /// The loopback block 127.N.0.0/16 to listen in, or `any` for one that is free.
    #[arg(long, env = "PORTCULLIS_BLOCK", default_value_t = Choice(Some(DEFAULT_BLOCK)))]
    block: Choice,
    /// Envoy version, instead of the pinned default.
    #[arg(long, env = "PORTCULLIS_ENVOY")]
    envoy: Option<String>,
    /// The folder with overlays/local that is run, instead of this source tree's istio-manifests.
    #[arg(long, env = "PORTCULLIS_MANIFESTS")]
    manifests: Option<PathBuf>,
    /// End when the program ends that started this one, however it ends.
    #[arg(long)]
    with_parent: bool,
    /// Guard the ingress gateway by the native module, libportcullis.so. Sidecars stay with the Wasm module.
    #[arg(long)]
    native: bool,
    /// Run a Kubernetes API server, and have istiod read from it: then `kubectl` works as on a cluster.
    #[arg(long)]
    kubernetes: bool,
    /// The Istio of it: 1.29, or 1.31, the newest that can be had.
    #[arg(long, requires = "kubernetes", default_value = "1.29")]
    istio: Istio,
    /// Worker threads of the ingress gateway.
    #[arg(long, default_value_t = 2)]
    gateway_workers: u32,
}

impl MeshArgs {
    fn apply(self, options: Options) -> Result<Options> {
        let Self { block, envoy, manifests, with_parent, native, kubernetes, istio, gateway_workers } = self;
        if with_parent {
            process::end_with_parent()?;
        }
        let gateway = if native { Target::Native } else { Target::Wasm };
        let kubernetes = kubernetes.then_some(istio);
        Ok(Options { block: block.0, envoy, manifests, gateway, kubernetes, gateway_workers, ..options })
    }
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Tools { envoy, postgres: others, set: sets } => {
            let tools = tools::install(&paths::root(), envoy.as_deref(), &mut say)?;
            let postgres = tools::install_postgres(&paths::root(), &mut say)?;
            let Tools { istiod, istioctl, kustomize, func_e, envoy, .. } = &tools;
            for path in [istiod, istioctl, kustomize, func_e, envoy, &postgres] {
                println!("{}", path.display());
            }
            for major in others {
                let server = tools::install_postgres_server(&paths::root(), &major, &mut say)?;
                println!("{}", server.display());
            }
            for set in sets {
                println!("{}", tools::install_set(&paths::root(), &set, &mut say)?.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::CrossCompiler => {
            println!("{}", tools::install_cross_compiler(&paths::root(), &mut say)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Up(args) => up::run(args.apply(Options::default())?).await,
        Command::Demo(args) => demo::run(args.apply(Scenario::options())?).await,
        Command::Policy(wanted) => Ok(policy::run(wanted).await),
        Command::DataApi(args) => samples::data_api(args).await,
        Command::Idp(args) => samples::idp(args).await,
    }
}
