//! Calls to other services.

use crate::envoy::case::{Case, Sent, Setup};

const GO_ON: &str = "request_headers: return 1; call_response: note; call_response: continue 0";

fn grpc(name: &'static str, call: &str) -> Case {
    let after = "request_headers: return 1; grpc_receive: note; grpc_receive: body 5 0 99; \
                 grpc_receive: status; grpc_receive: continue 0; grpc_close: note; grpc_close: status; \
                 grpc_close: body 5 0 9; grpc_close: continue 0";
    Case::plain(name, Sent::get("/").impatient().script(&format!("request_headers: {call}; {after}")))
}

fn call(name: &'static str, call: &str, after: &str) -> Case {
    Case::plain(name, Sent::get("/").script(&format!("request_headers: {call}; {after}; {GO_ON}")))
}

pub(super) fn cases() -> Vec<Case> {
    let get = "call upstream 5000 - :method GET :path / :authority a";
    vec![
        call("call", "call upstream 5000 hi :method POST :path /x :authority a x-q 1", "call_response: get 6 :status; call_response: get 6 x-from; call_response: body 4 0 100; call_response: body 4 1 2; call_response: status"),
        call("call-pairs", "call upstream 5000 - :method GET :path / :authority a x-answer teapot", "call_response: get 6 x-kind; call_response: get 6 x-none; call_response: get 7 x-none; call_response: size 6; call_response: size 7; call_response: pairs 7; call_response: add 6 x-a 1"),
        call("call-trailers", "call upstream 5000 - :method GET :path / :authority a x-answer trailers", "call_response: get 7 x-sum; call_response: body 4 0 99"),
        call("call-reset", "call upstream 5000 - :method GET :path / :authority a x-answer reset", "call_response: get 6 :status; call_response: body 4 0 200; call_response: status"),
        call("call-time-out", "call upstream 300 - :method GET :path / :authority a x-answer never", "call_response: get 6 :status; call_response: body 4 0 200; call_response: get 6 content-type; call_response: status"),
        call("call-refused", "call refused 5000 - :method GET :path / :authority a", "call_response: get 6 :status; call_response: body 4 0 20"),
        call("call-empty", "call upstream 5000 - :method GET :path / :authority a x-answer empty", "call_response: get 6 content-length; call_response: body 4 0 20; call_response: body_status 4"),
        // In a VM of its own, where the status "reset" stays with the root context.
        Case::new(
            "call-stall",
            Setup::named("call-stall").plugin(GO_ON),
            vec![
                Sent::get("/").script(&format!(
                    "request_headers: call upstream 300 - :method GET :path / :authority a x-answer stall; {GO_ON}; \
                     call_response: get 6 :status; call_response: pairs 6; call_response: size 6; \
                     call_response: body 4 0 200; call_response: body_status 4; call_response: status"
                )),
                Sent::get("/").script(&format!(
                    "request_headers: {get}; {GO_ON}; call_response: get 6 :status; call_response: status"
                )),
            ],
        ),
        Case::new(
            "call-after-a-grpc-error",
            Setup::named("call-after-grpc").plugin(GO_ON),
            vec![
                Sent::get("/").script(
                    "request_headers: grpc grpc acme.Denied Check ping 5000; request_headers: return 1; \
                     grpc_close: status; grpc_close: continue 0; response_headers: status",
                ),
                Sent::get("/").script(&format!("request_headers: {get}; {GO_ON}; call_response: status")),
            ],
        ),
        Case::plain("call-unknown-cluster", Sent::get("/").script("request_headers: call nowhere 100 - :method GET :path / :authority a")),
        Case::plain("call-no-path", Sent::get("/").script("request_headers: call upstream 100 - :method GET :authority a")),
        Case::plain("call-no-method", Sent::get("/").script("request_headers: call upstream 100 - :path / :authority a")),
        Case::plain("call-no-authority", Sent::get("/").script("request_headers: call upstream 100 - :path / :method GET")),
        call("call-sees-request", get, "call_response: get 0 :path; call_response: add 0 x-from-call 1; call_response: get 2 :status"),
        call("call-outlives-stream", &format!("{get}; request_headers: {get} x-answer slow"), "call_response: get 6 :status"),
        Case::plain("call-then-reply", Sent::get("/").script(&format!("request_headers: {get}; request_headers: return 1; call_response: reply 403 d no -1"))),
        Case::plain("call-then-reply-with-body", Sent::post("/", "body").script(&format!("request_headers: {get}; request_headers: return 1; call_response: reply 403 d no -1; request_body: note; log: note"))),
        Case::plain("answer-outside-callback", Sent::get("/").script("request_headers: get 6 :status; request_headers: body 4 0 9; request_headers: pairs 6; request_headers: size 6")),
        grpc("grpc-message", "grpc grpc acme.Ok Check ping 1000"),
        grpc("grpc-error", "grpc grpc acme.Denied Check ping 1000 x-meta 1"),
        grpc("grpc-unimplemented", "grpc grpc acme.Nothing Check ping 1000"),
        grpc("grpc-refused", "grpc grpc-refused acme.Ok Check ping 1000"),
        grpc("grpc-time-out", "grpc grpc acme.Never Check ping 300 x-answer never"),
        Case::new(
            "grpc-cancelled",
            Setup::named("grpc-cancelled").plugin(""),
            vec![Sent::get("/").impatient().script(
                "request_headers: grpc grpc acme.Ok Check ping 1000; request_headers: grpc_cancel 5; \
                 request_headers: grpc_cancel 5; grpc_receive: note; grpc_close: note",
            )],
        ),
        Case::plain("grpc-unknown-cluster", Sent::get("/").script("request_headers: grpc nowhere a.B M msg 100")),
        Case::plain("grpc-cancel-unknown", Sent::get("/").script("request_headers: grpc_cancel 400")),
    ]
}
