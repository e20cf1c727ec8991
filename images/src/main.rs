//! `portcullis-images`: writes the OCI image layouts of what was built, and the bills of what is in them. `make image`
//! calls it, in the workspace.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use portcullis_images::{
    Bill, Compiled, Executable, Graph, Image, ImageError, Layout, Module, Origin, Parts, control, filter,
};

/// Writes the OCI image layouts of what was built, each with the bill of what is in it, and prints the digests that pin
/// them.
#[derive(Debug, Parser)]
#[command(name = "portcullis-images", version)]
struct Cli {
    #[command(subcommand)]
    image: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// The control service: one image for each program, under one index.
    Control {
        #[command(flatten)]
        common: Common,
        /// A static `portcullis`; once for each kind of machine.
        #[arg(long = "program", required = true)]
        programs: Vec<PathBuf>,
        /// The folder of the zig that linked them.
        #[arg(long)]
        zig: PathBuf,
    },
    /// The filter, as Istio pulls it.
    Filter {
        #[command(flatten)]
        common: Common,
        /// The Wasm module.
        #[arg(long)]
        module: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The folder of the layout. What is in it is replaced. The bills are written beside it.
    #[arg(long)]
    folder: PathBuf,
    /// The commit that was built.
    #[arg(long)]
    revision: String,
    /// Its time, in seconds since 1970.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    created: i64,
    /// What `cargo build --message-format json` told of the build.
    #[arg(long)]
    messages: PathBuf,
}

/// The workspace that was built.
const WORKSPACE: &str = ".";

/// Where a crate's data goes into an image by this program, and not by what was built.
const AUTHORITIES: &str = "webpki-root-certs";

impl Common {
    fn write(
        &self,
        make: impl FnOnce(&Origin) -> Result<Layout, ImageError>,
        parts: impl Fn(&Image<'_>, &Compiled) -> Result<Parts, ImageError>,
    ) -> Result<(), ImageError> {
        let origin = Origin::new(&self.revision, self.created)?;
        let compiled = Compiled::read(&self.messages)?;
        let layout = make(&origin)?;
        let bills = layout
            .images()
            .map(|image| Bill::new(&image, parts(&image, &compiled)?, &origin))
            .collect::<Result<Vec<_>, _>>()?;
        layout.write(&self.folder)?;
        println!("{} {}", self.folder.display(), layout.digest());
        for bill in bills {
            println!("{} {}", bill.write(&self.folder)?.display(), bill.artifact().digest());
        }
        Ok(())
    }
}

/// What is in an image of the control service.
fn of_the_control_service(image: &Image<'_>, compiled: &Compiled, zig: &Path) -> Result<Parts, ImageError> {
    let target = image.machine().map_or("", |machine| machine.target());
    let graph = Graph::ask(Path::new(WORKSPACE), target)?;
    Parts::compiled("portcullis-control", compiled, &graph, Path::new(WORKSPACE))?
        .with_musl_of(zig)?
        .with_data_of(AUTHORITIES, &graph)
}

/// What is in the image of the filter.
fn of_the_filter(compiled: &Compiled) -> Result<Parts, ImageError> {
    let graph = Graph::ask(Path::new(WORKSPACE), "wasm32-wasip1")?;
    Parts::compiled("portcullis-proxy-wasm", compiled, &graph, Path::new(WORKSPACE))
}

fn main() -> ExitCode {
    let done = match Cli::parse().image {
        Which::Control { common, programs, zig } => common.write(
            |origin| {
                let programs =
                    programs.iter().map(|path| Executable::read(path)).collect::<Result<Vec<_>, _>>()?;
                control(&programs, origin)
            },
            |image, compiled| of_the_control_service(image, compiled, &zig),
        ),
        Which::Filter { common, module } => common
            .write(|origin| filter(&Module::read(&module)?, origin), |_, compiled| of_the_filter(compiled)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis-images: {error}");
            ExitCode::FAILURE
        }
    }
}
