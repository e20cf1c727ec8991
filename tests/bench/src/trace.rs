//! Counts hostcalls in Envoy's trace of its Wasm VMs (`--component-log-level wasm:trace`).

use std::collections::BTreeMap;

/// A call, and the callback during which it was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    /// The callback, for example `proxy_on_request_headers`.
    pub callback: String,
    /// The hostcall; empty counts the callback itself.
    pub call: String,
}

/// Counts the callbacks and hostcalls of one thread.
pub(crate) fn count(log: &str, thread: u32) -> BTreeMap<Site, u32> {
    let thread = format!("][{thread}][trace]");
    let mut counts = BTreeMap::new();
    let mut callbacks: Vec<&str> = Vec::new();
    for line in log.lines().filter(|line| line.contains(&thread)) {
        let mut add = |callback: &str, call: &str| {
            let site = Site { callback: callback.to_owned(), call: call.to_owned() };
            *counts.entry(site).or_insert(0) += 1;
        };
        if let Some(name) = name(line, "[host->vm] ") {
            match callbacks.last() {
                None => add(name, ""),
                // What the host asks of the VM during a hostcall: room for its answer.
                Some(outer) => add(outer, &format!("→ {name}")),
            }
            callbacks.push(name);
        } else if line.contains("[host<-vm] ") {
            callbacks.pop();
        } else if let Some(name) = name(line, "[vm->host] ") {
            add(callbacks.first().copied().unwrap_or_default(), name);
        }
    }
    counts
}

/// The name behind a mark, without its module and arguments.
fn name<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(mark)?;
    let name = rest.split('(').next()?;
    Some(name.rsplit('.').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_callback_and_thread() {
        let line = |thread: u32, text: &str| {
            format!("[2026-01-01 00:00:00.000][{thread}][trace][wasm] [x] {text}\n")
        };
        let log = [
            line(7, "[host->vm] proxy_on_log(2)"),
            line(7, "[vm->host] env.proxy_get_property(1, 2, 3, 4)"),
            line(7, "[host->vm] proxy_on_memory_allocate(15)"),
            line(7, "[host<-vm] proxy_on_memory_allocate return: 1"),
            line(7, "[vm<-host] env.proxy_get_property return: 0"),
            line(7, "[host<-vm] proxy_on_log return: void"),
            line(8, "[host->vm] proxy_on_tick(1)"),
        ];
        let counts = count(&log.concat(), 7);
        let at = |callback: &str, call: &str| {
            counts.get(&Site { callback: callback.into(), call: call.into() }).copied()
        };
        assert_eq!(at("proxy_on_log", ""), Some(1));
        assert_eq!(at("proxy_on_log", "proxy_get_property"), Some(1));
        assert_eq!(at("proxy_on_log", "→ proxy_on_memory_allocate"), Some(1));
        assert_eq!(counts.len(), 3);
    }
}
