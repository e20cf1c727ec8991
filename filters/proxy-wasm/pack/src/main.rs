//! `portcullis-pack MODULE FOLDER`: optimises a built module, and writes `portcullis.wasm` and `portcullis.names` of
//! what came of it into a folder.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis-pack: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(module), Some(folder), None) = (paths.next(), paths.next(), paths.next()) else {
        return Err("give the built module and a folder".into());
    };
    let optimised = portcullis_pack::optimised(&module, &folder)?;
    let built = std::fs::read(&optimised).map_err(|error| format!("{}: {error}", optimised.display()))?;
    let packed = portcullis_pack::pack(&built)?;
    for (file, content) in
        [("portcullis.names", packed.names.as_bytes()), ("portcullis.wasm", &packed.module)]
    {
        let path = folder.join(file);
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
