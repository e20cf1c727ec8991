//! The same cases through this host and through a real Envoy.

pub(crate) mod case;
pub(crate) mod cases;
pub(crate) mod crowd;
pub(crate) mod here;
pub(crate) mod http2;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod stories;
pub(crate) mod story;
pub(crate) mod updates;
pub(crate) mod wire;

use std::time::Duration;

/// How long anything may take to become so: for a machine that is three times as slow as usual and busy
/// besides. Only what fails waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The lines that the contexts of a case logged, as `level text`.
pub(crate) fn logged(log: &str, case: &str) -> Vec<String> {
    let line = |line: &str| {
        let (level, text) = line.split_once('|')?;
        let text = of_case(text.strip_prefix("wasm log")?, case)?;
        let level = if level == "warning" { "warn" } else { level };
        Some(format!("{level} {text}"))
    };
    log.lines().filter_map(line).collect()
}

/// A line from the tag on, if it has that of the case: `[name-number]`, or `[name-x]` where there is no request.
pub(crate) fn of_case<'a>(line: &'a str, case: &str) -> Option<&'a str> {
    let tag = format!("[{case}-");
    let at = line.find(&tag)?;
    let (number, _) = line[at + tag.len()..].split_once(']')?;
    (number == "x" || number.bytes().all(|byte| byte.is_ascii_digit())).then_some(&line[at..])
}
