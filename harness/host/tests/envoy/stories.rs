//! The stories.

use super::case::{Policy, Sent, Setup};
use super::story::Story;

/// One plugin that says what happens to it, as this version of itself.
fn version(name: &str, version: &str) -> Setup {
    Setup::named(name).plugin(&script(name, version))
}

fn script(name: &str, version: &str) -> String {
    let says = |event: &str| format!("{event}: log 2 [{name}-x]{version}-{event}; ");
    let events = ["configure", "request_headers", "response_headers", "log", "done", "delete"];
    events.map(says).concat() + "log: property response|flags; log: property response|code_details"
}

pub(crate) fn all() -> Vec<Story> {
    let get = || Sent::get("/");
    let mut all = vec![
        Story::new(version("update", "old"))
            .begin(get())
            .update(version("update", "new"))
            .request(get())
            .finish()
            .drain()
            .request(get()),
        Story::new(version("drain-cuts", "old"))
            .begin(get())
            .update(version("drain-cuts", "new"))
            .drain()
            .request(get()),
        Story::new(version("drain-while-held", "old"))
            .begin(get().script("request_headers: return 1; request_headers: note; log: note; log: property response|flags; log: property response|code_details; done: note"))
            .update(version("drain-while-held", "new"))
            .drain(),
        Story::new(version("back-again", "old"))
            .update(version("back-again", "new"))
            .request(get())
            .update(version("back-again", "old"))
            .request(get())
            .drain()
            .request(get())
            .update(version("back-again", "new"))
            .request(get())
            .drain(),
        Story::new(version("fails-open-now", "old")).update(version("fails-open-now", "old").policy(Policy::Open)).request(get()).drain(),
        Story::new(version("reloads-now", "old")).update(version("reloads-now", "old").policy(Policy::Reload)).request(get()).drain(),
        Story::new(version("one-of-two", "old").plugin(&script("one-of-two", "second")))
            .begin(get())
            .update(version("one-of-two", "old").plugin(&script("one-of-two", "changed")))
            .request(get())
            .finish()
            .drain(),
        Story::new(version("chain-grows", "old"))
            .begin(get())
            .update(version("chain-grows", "old").plugin(&script("chain-grows", "second")))
            .begin(get())
            .request(get())
            .update(version("chain-grows", "third"))
            .request(get())
            .finish()
            .drain(),
        Story::new(version("removed", "old")).request(get()).begin(get()).remove().finish().drain(),
        Story::new(version("remove-cuts", "old")).begin(get()).remove().drain(),
    ];
    all.extend(shared());
    all.extend(dead());
    all.extend(callouts());
    all.extend(refusals());
    all
}

/// Ends of the whole proxy.
pub(crate) fn last() -> Vec<Story> {
    vec![
        Story::new(version("shut-down", "old"))
            .update(version("shut-down", "new"))
            .begin(Sent::get("/"))
            .begin(Sent::get("/").script("request_headers: return 1; request_headers: note; log: note; log: property response|code_details; done: note"))
            .shut_down(),
    ]
}

/// What lives as long as the VM, and what lives as long as its id.
fn shared() -> Vec<Story> {
    let get = |script: &str| Sent::get("/").script(script);
    let read = || {
        get(
            "request_headers: shared_get key; request_headers: shared_swap key again 0; request_headers: dequeue jobs",
        )
    };
    let plain = |vm_config: &str, more: &str| {
        let config = format!(
            "configure: queue jobs; configure: log 2 [shared-x]configured-{more}; done: log 2 [shared-x]done-{more}"
        );
        Setup::named("shared").plugin(&config).vm_config(vm_config)
    };
    let fill = "request_headers: shared_set key value; request_headers: enqueue jobs a; request_headers: enqueue jobs b; request_headers: enqueue jobs c";
    vec![
        Story::new(plain("", "old"))
            .request(get(fill))
            .update(plain("", "new"))
            .request(read())
            // Another VM of the same id.
            .update(plain("vm_start: log 2 [shared-x]another", "new"))
            .request(read())
            .drain()
            .request(read()),
        Story::new(Setup::named("vm-refused").plugin("configure: log 2 [vm-refused-x]configured"))
            .update(
                Setup::named("vm-refused")
                    .plugin("")
                    .vm_config("vm_start: log 2 [vm-refused-x]no; vm_start: return 0"),
            )
            .request(get("request_headers: note")),
    ]
}

/// A new configuration finds a dead VM.
fn dead() -> Vec<Story> {
    let story = |(name, policy): (&str, Policy)| {
        let name = format!("dead-{name}");
        let get = || Sent::get("/");
        Story::new(version(&name, "old").policy(policy))
            .request(get().script("request_headers: trap"))
            .request(get())
            .update(version(&name, "new").policy(policy))
            .request(get())
            .drain()
            .request(get())
    };
    [("closed", Policy::Closed), ("open", Policy::Open)].map(story).into()
}

/// Callouts that are under way when the configuration changes.
fn callouts() -> Vec<Story> {
    let call = |time_out: u32, answer: &str| {
        format!("call upstream {time_out} - :method GET :path / :authority a x-answer {answer}")
    };
    let mut all = Vec::new();
    let waits = format!(
        "request_headers: {}; request_headers: return 1; call_response: note; call_response: get 6 :status; call_response: continue 0; log: note",
        call(3000, "never")
    );
    all.push(
        Story::new(version("callout", "old"))
            .begin(Sent::get("/").script(&waits))
            .update(version("callout", "new"))
            .finish()
            .drain(),
    );
    // A root context may put its end off until its last callout is answered.
    let last = format!(
        "done: log 2 [last-words-x]done; done: {}; done: return 0; call_response: log 2 [last-words-x]answered; call_response: done; delete: log 2 [last-words-x]deleted",
        call(1000, "")
    );
    all.push(
        Story::new(Setup::named("last-words").plugin(&last))
            .update(version("last-words", "new"))
            .drain()
            .request(Sent::get("/")),
    );
    // Without that its callouts end with it.
    let cut = format!(
        "done: log 2 [cut-off-x]done; done: {}; call_response: log 2 [cut-off-x]answered; delete: log 2 [cut-off-x]deleted",
        call(1000, "slow")
    );
    all.push(
        Story::new(Setup::named("cut-off").plugin(&cut))
            .update(version("cut-off", "new"))
            .drain()
            .request(Sent::get("/")),
    );
    all
}

/// A new configuration that is not accepted, under each policy.
fn refusals() -> Vec<Story> {
    let policies = [("closed", Policy::Closed), ("open", Policy::Open), ("reload", Policy::Reload)];
    let story = |(name, policy): (&str, Policy)| {
        let name = format!("refused-{name}");
        let get = || Sent::get("/");
        let bad = |what: &str| {
            let script =
                format!("{}; configure: {what}", script(&name, what.split(' ').next().unwrap_or_default()));
            Setup::named(&name).plugin(&script).policy(policy)
        };
        Story::new(version(&name, "old").policy(policy))
            .begin(get())
            .update(bad("return 0"))
            .request(get())
            .update(bad("return 0"))
            .update(bad("trap"))
            .request(get())
            .update(version(&name, "new").policy(policy))
            .request(get())
            .finish()
            .drain()
    };
    policies.map(story).into()
}
