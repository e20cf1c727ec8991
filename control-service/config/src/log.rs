//! The log.

use tracing_subscriber::filter::LevelFilter;

use crate::section::Section;

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// A `tracing` filter, for example `info` or `portcullis_control=debug`.
    pub level: String,
}

pub(crate) fn read(mut section: Section<'_>) -> LogConfig {
    let format: String = section.optional("format").unwrap_or_else(|| "text".to_owned());
    let level: String = section.optional("level").unwrap_or_else(|| "info".to_owned());
    if !matches!(format.as_str(), "text" | "json") {
        section.error("format", format!("{format:?} is not a log format; write text or json"));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&level) {
        section.error("level", format!("is not a log filter: {error}; write for example info"));
    }
    // A bare word would be taken for a target, and leave everything else silent.
    let is_word = |part: &&str| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err();
    if let Some(word) = level.split(',').find(is_word) {
        section.error(
            "level",
            format!("{word:?} is no level; write error, warn, info, debug or trace, or TARGET=LEVEL"),
        );
    }
    section.finish();
    LogConfig { json: format == "json", level }
}
