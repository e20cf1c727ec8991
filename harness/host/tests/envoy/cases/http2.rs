//! Clients that speak HTTP/2.

use crate::envoy::case::{Case, Sent, Setup};

fn http2(name: &'static str, sent: Sent, script: &str) -> Case {
    Case::new(name, Setup::http2(), vec![sent.script(script)])
}

pub(super) fn cases() -> Vec<Case> {
    let get = || Sent::get("/");
    let two = || Sent::chunks("/", &["one ", "two"], &[]);
    let with_trailers = || Sent::chunks("/", &["one ", "two"], &[("x-sum", "7")]);
    let cookies = || get().header("cookie", "a=1").header("x-between", "1").header("cookie", "b=2");
    vec![
        http2(
            "http2",
            get(),
            "request_headers: note; request_headers: property request|protocol; request_headers: get 0 :authority; request_headers: get 0 :scheme; request_headers: get 0 transfer-encoding; response_headers: note; response_body: note; log: property response|code; log: property response|code_details",
        ),
        http2(
            "http2-body",
            Sent::post("/", "whole"),
            "request_headers: note; request_headers: get 0 content-length; request_body: note; request_body: body 0 0 99",
        ),
        http2(
            "http2-body-in-parts",
            two(),
            "request_headers: note; request_body: note; request_body: body 0 0 99",
        ),
        http2(
            "http2-body-buffered",
            two(),
            "request_body: note; request_part: return 1; request_end: body 0 0 99; request_end: set_body 0 0 99 changed",
        ),
        http2(
            "http2-trailers",
            with_trailers(),
            "request_body: note; request_trailers: note; request_trailers: get 1 x-sum; request_trailers: add 1 x-more 1",
        ),
        http2("http2-trailers-added", two(), "request_end: add 1 x-late 1; request_trailers: note"),
        http2(
            "http2-response-trailers",
            get().answer("trailers"),
            "response_body: note; response_trailers: get 3 x-sum; response_trailers: add 3 x-own 1",
        ),
        http2("http2-response-parts", get().answer("chunks"), "response_headers: note; response_body: note"),
        http2("http2-no-content", get().answer("no-content"), "response_headers: note; response_body: note"),
        http2(
            "http2-reply",
            get(),
            "request_headers: reply 403 denied no -1 x-why because; response_headers: note; response_body: note; log: property response|code_details",
        ),
        http2("http2-reply-to-a-part", two(), "request_part: reply 400 d bad -1; request_body: note"),
        http2(
            "http2-grpc-reply",
            Sent::post("/", "").header("content-type", "application/grpc"),
            "request_headers: reply 403 d no -1",
        ),
        http2(
            "http2-head",
            Sent { method: "HEAD".into(), ..get() },
            "request_headers: note; response_headers: note",
        ),
        http2(
            "http2-cookies",
            cookies(),
            "request_headers: get 0 cookie; request_headers: size 0; request_headers: add 0 cookie c=3",
        ),
        http2(
            "http2-duplicates",
            get()
                .header("x-dup", "1")
                .header("x-dup", "2")
                .header("authorization", "a")
                .header("authorization", "b"),
            "request_headers: get 0 x-dup; request_headers: get 0 authorization",
        ),
        http2("http2-raw-value", get().header("x-raw", b"a\xff\xfeb"), "request_headers: get 0 x-raw"),
        http2(
            "http2-raw-path",
            Sent::get("/up/\u{e9}?q=\u{e9}"),
            "request_headers: get 0 :path; request_headers: property request|url_path",
        ),
        http2(
            "http2-leave",
            Sent::unfinished("/", &["one "]),
            "request_body: note; log: property response|code_details; log: property response|flags",
        ),
        http2(
            "http2-web-socket",
            Sent { method: "CONNECT".into(), protocol: Some("websocket".into()), ..get() },
            "request_headers: note; request_headers: get 0 :method; request_headers: get 0 :path; request_headers: get 0 :protocol; request_headers: get 0 upgrade; request_headers: get 0 connection; request_headers: reply 403 d no -1",
        ),
        http2(
            "http2-callout",
            two(),
            "request_headers: call upstream 5000 - :method GET :path / :authority a x-answer slow; request_headers: return 1; call_response: get 6 :status; call_response: continue 0; request_body: note",
        ),
    ]
}
