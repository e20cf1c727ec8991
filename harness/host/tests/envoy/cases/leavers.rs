//! Clients that leave before their exchange is over.

use crate::envoy::case::{Case, Sent, Setup};

/// What a plugin is told at the end, and what it can still read then.
const END: &str = "log: note; log: get 0 :path; log: get 2 :status; log: property response|code; \
                   log: property response|flags; log: property response|code_details; \
                   log: property request|size; log: has_property request|duration; log: property response|size; \
                   log: property response|grpc_status; log: has_property upstream|port; \
                   log: property xds|cluster_name; done: note; done: property response|code_details; \
                   done: get 0 :path; delete: note; delete: property response|flags";

/// Longer than the client waits.
const CALL: &str = "call upstream 1500 - :method GET :path / :authority a x-answer never";

fn leaves(name: &'static str, sent: Sent, script: &str) -> Case {
    Case::plain(name, sent.impatient().script(&format!("{script}; {END}")))
}

pub(super) fn cases() -> Vec<Case> {
    let get = || Sent::get("/");
    let body = || Sent::unfinished("/", &["one ", "two "]);
    vec![
        leaves("leave-before-the-answer", get().answer("never"), "response_headers: note"),
        leaves("leave-before-the-answer-to-a-body", Sent::post("/", "whole").answer("never"), ""),
        leaves("leave-during-the-answer", get().answer("stall"), "response_headers: note; response_body: note"),
        leaves("leave-while-an-answer-is-held", get(), "response_headers: return 1"),
        leaves("leave-while-an-answer-is-buffered", get().answer("chunks"), "response_part: return 1; response_end: return 1"),
        leaves("leave-during-the-body", body(), "request_body: note"),
        leaves("leave-during-a-buffered-body", body(), "request_body: note; request_part: return 1"),
        leaves("leave-during-a-body-that-waits", body(), "request_headers: return 1; request_body: note"),
        leaves("leave-during-the-body-before-any", Sent::unfinished("/", &[]), "request_body: note"),
        leaves("leave-after-a-refusal", body(), "request_part: reply 403 d no -1; response_headers: note"),
        leaves("leave-while-held", get(), "request_headers: return 1"),
        // The callout ends with the client: its time-out, while the second request waits, tells nobody.
        Case::plain("leave-during-a-callout", get())
            .then(get().impatient().script(&format!("request_headers: {CALL}; request_headers: return 1; call_response: note; call_response: continue 0; {END}")))
            .then(get().after(1000)),
        Case::plain("leave-during-a-grpc-callout", get())
            .then(get().impatient().script(&format!("request_headers: grpc grpc acme.Never Check ping 1500 x-answer never; request_headers: return 1; grpc_receive: note; grpc_close: note; grpc_close: continue 0; {END}")))
            .then(get().after(1000)),
        Case::new(
            "leave-a-chain",
            Setup::named("leave-a-chain").plugin("").plugin(""),
            vec![get().impatient().answer("never").script(END)],
        ),
        Case::new(
            "leave-the-first-of-a-chain",
            Setup::named("leave-the-first").plugin("request_headers: return 1; log: note; done: note").plugin("request_headers: note; log: note; done: note"),
            vec![get().impatient()],
        ),
        Case::new(
            "leave-and-trap",
            Setup::named("leave-and-trap").plugin(""),
            vec![get().impatient().answer("never").script("log: note; log: trap; done: note"), get()],
        ),
        Case::new(
            "leave-and-answer",
            Setup::named("leave-and-answer").plugin(""),
            vec![get().impatient().answer("never").script("done: note; done: reply 403 d b -1; done: continue 0; done: continue 1; done: close 0; delete: continue 0"), get()],
        ),
    ]
}
