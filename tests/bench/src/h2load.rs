//! Closed-loop load over HTTP/2 by h2load.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{BenchError, Result};
use crate::wrk::{Feed, Round};

/// Connections, and streams at a time on each: as many requests at a time as wrk has.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 4;

/// Loads a listener for a time with the feed's first credential.
///
/// # Errors
/// When h2load fails, or an answer did not come.
pub(crate) fn run(target: SocketAddr, feed: &Feed, duration: Duration) -> Result<Round> {
    let mut command = Command::new("h2load");
    command.args([format!("-c{CONNECTIONS}"), format!("-m{STREAMS}"), "-t1".into()]);
    command.arg(format!("--duration={}", duration.as_secs().max(1)));
    for line in feed.first().unwrap_or_default().lines() {
        command.args(["-H", line]);
    }
    command.arg(format!("http://{target}/v1/objects/42"));
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::io("run", "h2load"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text, duration).ok_or_else(|| BenchError::invalid("the load", format!("h2load said {text}")))
}

/// Reads its summary: `requests: 10 total, 10 started, 10 done, …` and `status codes: 10 2xx, …`.
fn read(text: &str, duration: Duration) -> Option<Round> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let number = |line: &str, what: &str| -> Option<f64> {
        line.split(',').find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    let (requests, codes) = (line("requests:")?, line("status codes:")?);
    let good = number(codes, "2xx")?;
    let refused = number(codes, "4xx")? + number(codes, "5xx")?;
    (good + refused > 0.0).then_some(Round {
        requests: good + refused,
        refused,
        failed: number(requests, "errored")?,
        microseconds: duration.as_secs_f64() * 1e6,
        processor_us: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_summary_is_read() {
        let text = "finished in 1.00s, 12 req/s, 1MB/s\n\
            requests: 14 total, 14 started, 12 done, 11 succeeded, 1 failed, 0 errored, 0 timeout\n\
            status codes: 11 2xx, 0 3xx, 1 4xx, 0 5xx\n";
        let round = read(text, Duration::from_secs(1)).unwrap();
        assert_eq!((round.requests, round.refused), (12.0, 1.0));
        assert!(read("h2load: no", Duration::from_secs(1)).is_none());
    }
}
