//! Bodies and trailers.

use crate::envoy::case::{Case, Sent};

pub(super) fn cases() -> Vec<Case> {
    let two = || Sent::chunks("/", &["one ", "two"], &[]);
    let with_trailers = || Sent::chunks("/", &["one ", "two"], &[("x-sum", "7")]);
    let large = || Sent::get("/").answer("large");
    vec![
        Case::plain("body-read", Sent::post("/", "hello body").script("request_headers: note; request_body: note; request_body: body 0 0 100; request_body: body 0 6 4; request_body: body 0 50 4; request_body: body_status 0")),
        Case::plain("body-buffered", two().script("request_body: note; request_part: return 1; request_end: body 0 0 100")),
        Case::plain("body-replaced", two().script("request_headers: remove 0 content-length; request_part: return 1; request_end: set_body 0 0 99999 changed; request_end: body 0 0 100")),
        Case::plain("body-prepended", two().script("request_part: return 1; request_end: set_body 0 0 0 start-")),
        Case::plain("body-appended", two().script("request_part: return 1; request_end: set_body 0 99999 0 -end; request_end: set_body 0 2 1 no")),
        Case::plain("body-part-changed", two().script("request_part: set_body 0 0 99999 X; request_end: note")),
        Case::plain("body-emptied", two().script("request_part: set_body 0 0 99999; request_end: note")),
        Case::plain("body-headers-paused", two().script("request_headers: call upstream 5000 - :method GET :path / :authority a x-answer slow; request_headers: return 1; call_response: get 6 :status; call_response: continue 0; request_body: note")),
        Case::plain("body-not-in-headers", Sent::post("/", "b").script("request_headers: body 0 0 10; request_headers: body_status 0; request_headers: set_body 0 0 0 x")),
        Case::plain("body-not-in-response", Sent::post("/", "b").script("response_headers: body 0 0 10; response_headers: body 1 0 10; response_headers: body 4 0 1; response_headers: body 7 0 1; response_headers: body 6 0 1")),
        Case::plain("body-add-trailers-at-end", two().script("request_end: add 1 x-late 1; request_end: get 1 x-late; request_trailers: note")),
        Case::plain("trailers-read", with_trailers().script("request_headers: note; request_body: note; request_trailers: note; request_trailers: get 1 x-sum; request_trailers: add 1 x-more 1; request_trailers: remove 1 x-sum")),
        Case::plain("trailers-with-buffered-body", with_trailers().script("request_part: return 1; request_trailers: body 0 0 100; request_trailers: note")),
        Case::plain("trailers-paused", with_trailers().script("request_trailers: call upstream 5000 - :method GET :path / :authority a; request_trailers: return 1; call_response: get 1 x-sum; call_response: continue 0")),
        Case::plain("trailers-buffered-body-changed", with_trailers().script("request_part: return 1; request_trailers: set_body 0 0 99999 new; request_trailers: body 0 0 9")),
        Case::plain("response-body-read", Sent::get("/").script("response_body: note; response_body: body 1 0 100; response_body: body 0 0 100")),
        Case::plain("response-body-replaced", Sent::get("/").script("response_headers: remove 2 content-length; response_end: set_body 1 0 99999 changed")),
        Case::plain("response-chunks", Sent::get("/").answer("chunks").script("response_headers: note; response_body: note; response_body: body 1 0 100")),
        Case::plain("response-chunks-buffered", Sent::get("/").answer("chunks").script("response_part: return 1; response_end: body 1 0 100; response_end: set_body 1 0 99999 all")),
        Case::plain("response-trailers", Sent::get("/").answer("trailers").script("response_headers: note; response_body: note; response_trailers: get 3 x-sum; response_trailers: add 3 x-own 1; log: get 3 x-sum")),
        Case::plain("response-empty", Sent::get("/").answer("empty").script("response_headers: note; response_body: note")),
        Case::plain("response-paused", Sent::get("/").script("response_headers: call upstream 5000 - :method GET :path / :authority a; response_headers: return 1; call_response: get 2 :status; call_response: add 2 x-late 1; call_response: continue 1")),
        Case::plain("body-no-buffer", two().script("request_part: return 3")),
        Case::plain("body-watermark", two().script("request_body: note; request_part: return 2; request_end: body 0 0 100")),
        Case::plain("body-too-large", Sent::post("/", &"x".repeat(1_200_000)).script("request_part: return 1; request_end: return 1; log: property response|code_details; response_headers: get 2 :status")),
        Case::plain("headers-too-large-when-buffered", Sent::post("/", &"x".repeat(1_200_000)).script("request_headers: return 3; log: property response|code_details")),
        // Nothing of the response has left: it is replaced by a 500.
        Case::plain("response-too-large", large().script("response_headers: return 3; response_part: return 1; response_end: return 1; log: property response|code_details; log: property response|code; log: get 2 :status")),
        // Its headers have: all that is left is to cut it.
        Case::plain("response-too-large-after-headers", large().impatient().script("response_part: return 1; response_end: return 1; log: property response|code_details; log: property response|code; log: property response|flags")),
        Case::plain("response-large-and-let-through", large().script("response_headers: note; response_end: log 2 [response-large-and-let-through-0]end")),
        Case::plain("odd-returns", Sent::get("/").script("request_headers: return 2; response_headers: return 2")),
    ]
}
