//! A module that does what a script says, one hostcall a line, and logs what each call answered.
//!
//! The script is the plugin's configuration; a request can bring its own in the header `x-script`
//! (lines separated by `;`). A line is `event: call argument argument …`; `%NN` stands for a byte.
//! In `vm_start` the VM's configuration is the script. The header `x-case` is put before each log line.

mod abi;
mod calls;
mod text;

use std::cell::RefCell;
use std::collections::BTreeMap;

use text::{escape, unescape};

/// One line of a script.
#[derive(Clone)]
pub struct Line {
    event: String,
    call: String,
    arguments: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Context {
    root: u32,
    case: String,
    script: Option<Vec<Line>>,
}

thread_local! {
    static SCRIPTS: RefCell<BTreeMap<u32, Vec<Line>>> = RefCell::default();
    static CONTEXTS: RefCell<BTreeMap<u32, Context>> = RefCell::default();
    /// Contexts that wait for a callout.
    static CALLERS: RefCell<BTreeMap<u32, u32>> = RefCell::default();
}

fn parse(script: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in script.split(|byte| *byte == b';' || *byte == b'\n') {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (Some(event), Some(call)) = (words.next(), words.next()) else { continue };
        lines.push(Line {
            event: String::from_utf8_lossy(event).trim_end_matches(':').to_owned(),
            call: String::from_utf8_lossy(call).into_owned(),
            arguments: words.map(unescape).collect(),
        });
    }
    lines
}

fn say(level: u32, text: &str) {
    // SAFETY: the text lives through the call.
    unsafe { abi::proxy_log(level, text.as_ptr(), text.len()) };
}

/// Counts a line's first argument up in the shared data; true if it is the second then.
fn nth(line: &Line) -> bool {
    calls::add_up(&line.arguments[0]).1.as_bytes() == line.arguments[1]
}

/// Runs the lines of an event. The number that the event returns, if a line says so.
fn run(context: u32, event: &str, note: &str) -> Option<u32> {
    let (case, lines) = CONTEXTS.with_borrow(|contexts| {
        let Some(entry) = contexts.get(&context) else { return (String::new(), Vec::new()) };
        let lines = entry.script.clone().unwrap_or_else(|| {
            SCRIPTS.with_borrow(|scripts| scripts.get(&entry.root).cloned().unwrap_or_default())
        });
        (entry.case.clone(), lines)
    });
    run_lines(context, event, note, &case, &lines)
}

fn run_lines(context: u32, event: &str, note: &str, case: &str, lines: &[Line]) -> Option<u32> {
    let (mut returned, mut case) = (None, case.to_owned());
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.event == event) {
        let text = |at: usize| line.arguments.get(at).map(|a| escape(a)).unwrap_or_default();
        match line.call.as_str() {
            "return" => returned = text(0).parse().ok(),
            // If it is the n-th time, in all VMs together: return_nth KEY N VALUE, trap_nth KEY N.
            "return_nth" if nth(line) => returned = text(2).parse().ok(),
            "trap_nth" if nth(line) => panic!("it is the time"),
            "return_nth" | "trap_nth" => {}
            "count" => drop(calls::counted(&line.arguments[0], 1)),
            // The case of the lines that follow, where no request says it.
            "case" => case = text(0),
            "note" => say(2, &format!("[{case}] {event} {note}")),
            "trap" => panic!("the script says so"),
            "trap_if_counted" => assert!(calls::counted(&line.arguments[0], 0) == 0, "counted"),
            "loop" => loop {
                std::hint::black_box(());
            },
            "grow" => {
                let pages = text(0).parse().unwrap_or(0);
                let before = core::arch::wasm32::memory_grow::<0>(pages);
                say(2, &format!("[{case}] {event} {number} grow -> {}", before != usize::MAX));
            }
            call => {
                let (status, value) = calls::call(context, call, &line.arguments);
                if call == "call" || call == "grpc" {
                    if let Ok(token) = value.parse() {
                        CALLERS.with_borrow_mut(|callers| callers.insert(token, context));
                    }
                    say(2, &format!("[{case}] {event} {number} {call} -> {status}"));
                } else {
                    say(2, &format!("[{case}] {event} {number} {call} -> {status} {value}"));
                }
            }
        }
    }
    returned
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    let root = if root == 0 { context } else { root };
    CONTEXTS.with_borrow_mut(|contexts| contexts.insert(context, Context { root, ..Context::default() }));
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(context: u32, size: u32) -> u32 {
    let script = calls::buffer(6, 0, size).1;
    run_lines(context, "vm_start", &size.to_string(), "vm", &parse(&script)).unwrap_or(1)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(context: u32, size: u32) -> u32 {
    let script = calls::buffer(7, 0, size).1;
    SCRIPTS.with_borrow_mut(|scripts| scripts.insert(context, parse(&script)));
    run(context, "configure", &size.to_string()).unwrap_or(1)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(context: u32) {
    run(context, "tick", "");
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_queue_ready(context: u32, _queue: u32) {
    run(context, "queue_ready", "");
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(context: u32, _count: u32, end: u32) -> u32 {
    let header = |name: &str| calls::header(0, name.as_bytes()).1;
    let (case, script) = (header("x-case"), header("x-script"));
    CONTEXTS.with_borrow_mut(|contexts| {
        if let Some(entry) = contexts.get_mut(&context) {
            entry.case = escape(&case);
            entry.script = (!script.is_empty()).then(|| parse(&script));
        }
    });
    run(context, "request_headers", &format!("end={end}")).unwrap_or(0)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_body(context: u32, size: u32, end: u32) -> u32 {
    run(context, "request_body", &format!("size={size} end={end}"));
    if end == 1 { run(context, "request_end", "").unwrap_or(0) } else { run(context, "request_part", "").unwrap_or(0) }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(context: u32, count: u32) -> u32 {
    run(context, "request_trailers", &format!("count={count}")).unwrap_or(0)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(context: u32, _count: u32, end: u32) -> u32 {
    run(context, "response_headers", &format!("end={end}")).unwrap_or(0)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(context: u32, size: u32, end: u32) -> u32 {
    run(context, "response_body", &format!("size={size} end={end}"));
    let event = if end == 1 { "response_end" } else { "response_part" };
    run(context, event, "").unwrap_or(0)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_trailers(context: u32, count: u32) -> u32 {
    run(context, "response_trailers", &format!("count={count}")).unwrap_or(0)
}

/// The context that made a callout, made effective.
fn caller(root: u32, token: u32) -> u32 {
    let context = CALLERS.with_borrow_mut(|callers| callers.remove(&token)).unwrap_or(root);
    // SAFETY: no pointers.
    if context != root && unsafe { abi::proxy_set_effective_context(context) } != 0 {
        return root;
    }
    context
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(root: u32, token: u32, headers: u32, body: u32, trailers: u32) {
    let context = caller(root, token);
    let note = format!("none={} body={body} trailers={trailers}", headers == 0);
    run(context, "call_response", &note);
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_grpc_receive(root: u32, token: u32, size: u32) {
    let context = caller(root, token);
    run(context, "grpc_receive", &format!("size={size}"));
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_grpc_close(root: u32, token: u32, status: u32) {
    let context = caller(root, token);
    run(context, "grpc_close", &format!("status={status}"));
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(context: u32) {
    run(context, "log", "");
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(context: u32) -> u32 {
    run(context, "done", "").unwrap_or(1)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    run(context, "delete", "");
    CONTEXTS.with_borrow_mut(|contexts| contexts.remove(&context));
}
