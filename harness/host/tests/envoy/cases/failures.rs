//! Traps and what comes after them.

use crate::envoy::case::{Case, Policy, Sent, Setup};

fn boom() -> Sent {
    Sent::get("/").script("request_headers: trap")
}

fn fails(name: &'static str, policy: Policy, requests: Vec<Sent>) -> Case {
    Case::new(name, Setup::named(name).plugin("request_headers: note; log: note").policy(policy), requests)
}

/// Two plugins of one VM: the first one traps; then two requests, the second after the back-off.
fn together(name: &'static str, policies: &[Policy]) -> Case {
    let script =
        "request_headers: note; request_headers: property plugin_name; response_headers: note; log: note";
    let setup = Setup::named(name).plugin(script).plugin(script).policies(policies);
    let fine = || Sent::get("/");
    Case::new(name, setup, vec![fine().after(400), boom(), fine(), fine().after(700), fine()])
}

pub(super) fn cases() -> Vec<Case> {
    let fine = || Sent::get("/");
    vec![
        fails("trap-closed", Policy::Closed, vec![fine(), boom(), fine(), fine().after(400)]),
        fails("trap-open", Policy::Open, vec![fine(), boom(), fine()]),
        fails("trap-reload", Policy::Reload, vec![fine().after(400), boom(), fine(), fine().after(700), boom(), fine().after(700)]),
        fails("trap-in-response", Policy::Closed, vec![fine().script("response_headers: trap"), fine()]),
        fails("trap-in-response-open", Policy::Open, vec![fine().script("response_headers: trap"), fine()]),
        fails("trap-in-log", Policy::Closed, vec![fine().script("log: trap"), fine()]),
        fails("trap-in-body", Policy::Closed, vec![Sent::post("/", "b").script("request_part: return 1; request_end: trap"), fine()]),
        fails("trap-in-body-open", Policy::Open, vec![Sent::post("/", "b").script("request_part: return 1; request_end: trap"), fine()]),
        fails("trap-in-response-body", Policy::Closed, vec![fine().script("response_end: trap")]),
        fails("trap-in-callout", Policy::Closed, vec![fine().impatient().script("request_headers: call upstream 1000 - :method GET :path / :authority a; request_headers: return 1; call_response: trap"), fine().after(300)]),
        fails("trap-in-grpc", Policy::Closed, vec![Sent::post("/", "").header("content-type", "application/grpc").script("request_headers: trap")]),
        // Plugins of one VM die together, and each follows its own policy.
        together("trap-of-open-before-closed", &[Policy::Open, Policy::Closed]),
        together("trap-of-closed-before-open", &[Policy::Closed, Policy::Open]),
        together("trap-of-reload-before-open", &[Policy::Reload, Policy::Open]),
        together("trap-of-open-before-reload", &[Policy::Open, Policy::Reload]),
        together("trap-of-reload-before-closed", &[Policy::Reload, Policy::Closed]),
        Case::new(
            "trap-of-first",
            Setup::named("trap-of-first").plugin("request_headers: get 0 x-none").plugin("request_headers: note; response_headers: note; log: note"),
            vec![boom(), fine()],
        ),
    ]
}
