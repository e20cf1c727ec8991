//! What the commands on the database and on files write.

use std::io::Write;

use portcullis_control_config::LogConfig;
use tracing_subscriber::EnvFilter;

use super::error::CommandError;

pub(super) fn print(line: &str) -> Result<(), CommandError> {
    writeln!(std::io::stdout(), "{line}").map_err(CommandError::Output)
}

/// Beside the output, which a program may read.
pub(super) fn warn_of(warnings: &[String]) -> Result<(), CommandError> {
    let mut beside = std::io::stderr();
    warnings
        .iter()
        .try_for_each(|warning| writeln!(beside, "warning: {warning}"))
        .map_err(CommandError::Output)
}

pub(super) fn print_all(lines: &[String]) -> Result<(), CommandError> {
    lines.iter().try_for_each(|line| print(line))
}

pub(super) fn log_to_stderr(config: &LogConfig) {
    // The level was checked with the configuration.
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Where the log cannot be written, that cannot be told either: to try it would end the thread that logs.
    let log = log.log_internal_errors(false);
    if config.json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}
