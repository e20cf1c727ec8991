//! Answers that do not come from the upstream.

use crate::envoy::case::{Case, Sent, Setup};

fn reply(name: &'static str, script: &str) -> Case {
    Case::plain(name, Sent::get("/").script(script))
}

pub(super) fn cases() -> Vec<Case> {
    let log = "log: property response|code_details; log: property response|flags; log: property response|code; log: get 2 :status";
    vec![
        reply("reply", "request_headers: reply 403 denied no -1 x-why because"),
        reply("reply-without-body", "request_headers: reply 401 - "),
        reply("reply-empty-details", "request_headers: reply 418 d%20e%20%20f body -1; log: property response|code_details"),
        reply("reply-content-type", "request_headers: reply 400 d %7b%7d -1 content-type application/problem+json"),
        reply("reply-duplicates", "request_headers: reply 400 d b -1 x-a 1 x-a 2 set-cookie a set-cookie b"),
        reply("reply-then-continue", "request_headers: reply 429 d b -1; request_headers: return 0; request_headers: get 0 :path"),
        reply("reply-seen-by-itself", "request_headers: reply 429 d b -1; response_headers: get 2 :status; response_headers: add 2 x-own 1; response_body: note; log: note; done: note"),
        reply("reply-status-in-headers", "request_headers: reply 200 d b -1 x-status 1"),
        reply("reply-on-response", "response_headers: reply 502 late changed -1 x-late 1"),
        reply("reply-on-response-body", "response_end: reply 502 late changed -1"),
        Case::plain("reply-on-body", Sent::post("/", "data").script("request_part: return 1; request_end: reply 400 d bad -1")),
        Case::plain("reply-on-trailers", Sent::chunks("/", &["a"], &[("x-t", "1")]).script("request_trailers: reply 400 d bad -1")),
        Case::plain("reply-on-body-part", Sent::chunks("/", &["a", "b", "c"], &[]).script("request_part: reply 400 d bad -1; request_body: note")),
        Case::plain("reply-head", Sent { method: "HEAD".into(), ..Sent::get("/") }.script("request_headers: reply 403 d body -1")),
        Case::plain("reply-grpc", Sent::post("/", "").header("content-type", "application/grpc").script("request_headers: reply 403 d not%20you -1 x-a 1")),
        Case::plain("reply-grpc-status", Sent::post("/", "").header("content-type", "application/grpc+proto").script("request_headers: reply 401 d no 16")),
        Case::plain("reply-grpc-503", Sent::post("/", "").header("content-type", "application/grpc").script("request_headers: reply 503 d a%0ab%c3%a9%25 -1")),
        Case::plain("reply-grpc-web", Sent::post("/", "").header("content-type", "application/grpc-web").script("request_headers: reply 403 d no -1")),
        reply("reply-twice", "request_headers: reply 401 first a -1; request_headers: reply 402 second b -1; log: property response|code_details"),
        reply("close", "request_headers: close 0; request_headers: return 1; log: property response|code_details"),
        Case::plain("no-route", Sent::get("/elsewhere").script(&format!("request_headers: note; response_headers: get 2 :status; {log}"))),
        Case::plain("no-route-not-saved", Sent::get("/elsewhere").script("request_headers: replace 0 :path /up")),
        Case::plain("no-route-cleared", Sent::get("/elsewhere").script("request_headers: replace 0 :path /up; request_headers: foreign clear_route_cache")),
        Case::plain("upstream-refused", Sent::get("/refused").script(&format!("response_headers: get 2 :status; response_end: body 1 0 30; {log}"))),
        Case::plain("upstream-reset", Sent::get("/").answer("reset").script(&format!("response_headers: get 2 :status; {log}"))),
        Case::plain("upstream-teapot", Sent::get("/").answer("teapot").script(log)),
        Case::plain("upstream-ok-log", Sent::get("/").script(log)),
        Case::plain("upstream-time-out", Sent::get("/").answer("never").script(log)),
        Case::new(
            "reply-of-second",
            Setup::named("reply-of-second")
                .plugin("request_headers: note; response_headers: get 2 :status; response_headers: add 2 x-first 1; log: note")
                .plugin("request_headers: reply 403 d b -1; response_headers: add 2 x-second 1; log: note"),
            vec![Sent::get("/")],
        ),
        Case::new(
            "reply-of-first",
            Setup::named("reply-of-first")
                .plugin("request_headers: reply 403 d b -1; response_headers: add 2 x-first 1; log: note")
                .plugin("request_headers: note; response_headers: add 2 x-second 1; log: get 0 x-answer; log: get 2 :status; done: note; delete: note"),
            vec![Sent::get("/").answer("ok")],
        ),
    ]
}
