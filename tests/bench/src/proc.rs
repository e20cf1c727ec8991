//! What Linux tells of a process: processor time and memory (proc(5)).

use std::path::PathBuf;
use std::time::Duration;

/// Milliseconds of a tick, in which `/proc/<pid>/stat` counts on every machine that Linux runs on today.
const TICK_MS: u64 = 10;

/// V8 keeps at least so much address space free behind a Wasm memory, so that no access needs a check.
const GUARD: u64 = 4 << 30;

/// Processor time in nanoseconds of the threads whose name is wanted.
pub(crate) fn processor_ns(pid: u32, wanted: impl Fn(&str) -> bool) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let used = |task: PathBuf| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let times = std::fs::read_to_string(task.join("schedstat")).ok()?;
        wanted(name.trim()).then(|| times.split(' ').next()?.parse::<u64>().ok()).flatten()
    };
    tasks.filter_map(|task| used(task.path())).sum()
}

/// Processor time of a process and of all threads that it ever had, to a hundredth of a second.
pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    Some(Duration::from_millis(ticks(pid)?.iter().take(2).sum::<u64>() * TICK_MS))
}

/// The same of processes together, and of those children of theirs that have ended.
pub(crate) fn processor_time_of(pids: &[u32]) -> Duration {
    let ticks = pids.iter().filter_map(|pid| ticks(*pid)).flatten();
    Duration::from_millis(ticks.sum::<u64>() * TICK_MS)
}

/// User and system time of a process, and of its children that have ended.
fn ticks(pid: u32) -> Option<[u64; 4]> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name stands in parentheses, and may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let tick = |field: usize| fields.get(field)?.parse().ok();
    Some([tick(11)?, tick(12)?, tick(13)?, tick(14)?])
}

/// The id of the thread of this name.
pub(crate) fn thread(pid: u32, name: &str) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let named = |path: PathBuf| std::fs::read_to_string(path).is_ok_and(|comm| comm.trim() == name);
    tasks
        .filter(|task| named(task.path().join("comm")))
        .find_map(|task| task.file_name().to_str()?.parse().ok())
}

/// Resident memory in MiB.
pub(crate) fn resident_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// The greatest linear memory among the Wasm VMs, in MiB.
pub(crate) fn wasm_memory_mib(pid: u32) -> Option<f64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    wasm_memories(&maps).into_iter().max().map(|bytes| bytes as f64 / f64::from(1 << 20))
}

/// Sizes in bytes: each is a writable mapping right in front of a reservation of at least [`GUARD`].
fn wasm_memories(maps: &str) -> Vec<u64> {
    let mappings: Vec<(u64, u64, &str)> = maps.lines().filter_map(mapping).collect();
    mappings
        .windows(2)
        .filter_map(|pair| match pair {
            [(begin, end, "rw-p"), (next, guard_end, "---p")] if end == next && guard_end - next >= GUARD => {
                Some(end - begin)
            }
            _ => None,
        })
        .collect()
}

fn mapping(line: &str) -> Option<(u64, u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (begin, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(begin)?, number(end)?, rest.get(..4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wasm_memory_is_told_by_its_guard() {
        let maps = "7fd5091a0000-7fd509310000 rw-p 00000000 00:00 0\n\
                    7fd509310000-7fd7091cc000 ---p 00000000 00:00 0\n\
                    7fd73a1af000-7fd73a9af000 rw-p 00000000 00:00 0\n\
                    7fd73a9af000-7fd73a9b0000 ---p 00000000 00:00 0\n";
        assert_eq!(wasm_memories(maps), [0x17_0000]);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {}
        assert!(processor_ns(std::process::id(), |_| true) > 0);
        let whole = processor_time(std::process::id()).unwrap();
        assert!(whole > Duration::ZERO && whole <= processor_time_of(&[std::process::id()]));
        assert!(resident_mib(std::process::id()).unwrap() > 0.1);
    }
}
