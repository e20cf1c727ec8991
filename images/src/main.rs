//! `portcullis-images`: writes the OCI image layouts of what was built. `make image` calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use portcullis_images::{Executable, ImageError, Layout, Module, Origin, control, filter};

/// Writes the OCI image layouts of what was built, and prints the digests that pin them.
#[derive(Debug, Parser)]
#[command(name = "portcullis-images", version)]
struct Cli {
    #[command(subcommand)]
    image: Image,
}

#[derive(Debug, Subcommand)]
enum Image {
    /// The control service: one image for each program, under one index.
    Control {
        #[command(flatten)]
        common: Common,
        /// A static `portcullis`; once for each kind of machine.
        #[arg(long = "program", required = true)]
        programs: Vec<PathBuf>,
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
    /// The folder of the layout. What is in it is replaced.
    #[arg(long)]
    folder: PathBuf,
    /// The commit that was built.
    #[arg(long)]
    revision: String,
    /// Its time, in seconds since 1970.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    created: i64,
}

impl Common {
    fn write(&self, make: impl FnOnce(&Origin) -> Result<Layout, ImageError>) -> Result<(), ImageError> {
        let layout = make(&Origin::new(&self.revision, self.created)?)?;
        layout.write(&self.folder)?;
        println!("{} {}", self.folder.display(), layout.digest());
        Ok(())
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().image {
        Image::Control { common, programs } => common.write(|origin| {
            let programs =
                programs.iter().map(|path| Executable::read(path)).collect::<Result<Vec<_>, _>>()?;
            control(&programs, origin)
        }),
        Image::Filter { common, module } => common.write(|origin| filter(&Module::read(&module)?, origin)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis-images: {error}");
            ExitCode::FAILURE
        }
    }
}
