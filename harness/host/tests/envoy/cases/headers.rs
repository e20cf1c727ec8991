//! Maps of headers.

use crate::envoy::case::{Case, Sent, Setup};

fn request(name: &'static str, script: &str) -> Case {
    Case::plain(name, Sent::get("/").script(script))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        request("add", "request_headers: add 0 x-a 1; response_headers: add 2 x-b 2"),
        request("add-twice", "request_headers: add 0 x-a 1; request_headers: add 0 x-a 2; request_headers: get 0 x-a"),
        request("add-upper-case", "request_headers: add 0 X-Up 1; request_headers: get 0 x-up; request_headers: get 0 X-UP"),
        request("replace-absent", "request_headers: replace 0 x-a 1"),
        request("remove-absent", "request_headers: remove 0 x-none"),
        request("get-absent", "request_headers: get 0 x-none"),
        request("replace-path", "request_headers: replace 0 :path /up/other?q=1"),
        request("replace-method", "request_headers: replace 0 :method DELETE"),
        request("replace-authority", "request_headers: replace 0 :authority else.where; request_headers: get 0 :authority"),
        request("replace-to-other-route", "request_headers: replace 0 :path /b/x"),
        request("replace-to-no-route", "request_headers: replace 0 :path /elsewhere"),
        request("remove-content-free", "request_headers: remove 0 x-forwarded-proto; request_headers: get 0 x-forwarded-proto"),
        request("empty-value", "request_headers: add 0 x-empty; request_headers: get 0 x-empty"),
        request("set-all", "request_headers: set_pairs 0 :method GET :path / :authority a :scheme http x-only 1"),
        request("map-after-phase", "response_headers: get 0 :path; response_headers: pairs 0; response_headers: size 0; response_headers: add 0 x-a 1; response_headers: replace 0 x-a 1; response_headers: remove 0 x-a"),
        request("map-before-phase", "request_headers: get 2 :status; request_headers: pairs 2; request_headers: add 2 x-a 1; request_headers: get 6 :status; request_headers: get 4 a; request_headers: pairs 1; request_headers: get 1 a; request_headers: get 3 a"),
        request("maps-in-log", "log: get 0 :path; log: get 2 :status; log: get 0 x-none; log: get 1 a; log: get 3 a; log: add 0 x-late 1; log: add 2 x-late 1; log: pairs 3; log: size 1"),
        request("maps-in-done", "done: get 0 :path; done: get 2 :status; delete: get 0 :path"),
        Case::plain(
            "duplicates",
            Sent::get("/").header("x-dup", "1").header("x-dup", "2").script(
                "request_headers: get 0 x-dup; request_headers: replace 0 x-dup 9; request_headers: get 0 x-dup",
            ),
        ),
        Case::plain(
            "duplicates-removed",
            Sent::get("/").header("x-dup", "1").header("x-dup", "2").script("request_headers: remove 0 X-Dup"),
        ),
        joined("authorization"),
        joined("cookie"),
        joined("user-agent"),
        joined("accept"),
        joined("origin"),
        joined("x-forwarded-for"),
        joined("x-request-id-like"),
        joined("content-type"),
        joined("referer"),
        joined("forwarded"),
        joined("cache-control"),
        joined("accept-encoding"),
        joined("via"),
        joined("etag"),
        joined("x-api-key"),
        joined("proxy-authorization"),
        joined("x-forwarded-host"),
        joined("te-like"),
        joined("vary"),
        joined("content-encoding"),
        joined("expect"),
        joined("x-forwarded-port"),
        joined("grpc-timeout"),
        joined("accept-language"),
        answered("etag"),
        answered("vary"),
        answered("cache-control"),
        answered("content-encoding"),
        answered("content-type"),
        answered("location"),
        answered("www-authenticate"),
        answered("access-control-allow-origin"),
        answered("x-other"),
        answered("via"),
        answered("age"),
        answered("expires"),
        answered("authorization"),
        answered("accept"),
        answered("origin"),
        answered("referer"),
        answered("user-agent"),
        Case::plain(
            "non-utf8-value",
            Sent::get("/").header("x-raw", b"a\xff\xfeb").script("request_headers: get 0 x-raw; request_headers: add 0 x-more %ff%00"),
        ),
        Case::plain("non-utf8-value-ok", Sent::get("/").header("x-raw", b"a\xff\xfeb").script("request_headers: get 0 x-raw; request_headers: add 0 x-more %ffz")),
        Case::plain("long-value", Sent::get("/").header("x-long", "l".repeat(8000)).script("request_headers: size 0; request_headers: remove 0 x-script; request_headers: remove 0 x-long")),
        request("size-of-map", "request_headers: size 2; response_headers: get 2 content-length; response_headers: get 2 x-from"),
        Case::plain("response-duplicates", Sent::get("/").answer("cookies").script("response_headers: get 2 set-cookie; response_headers: add 2 set-cookie c=3")),
        Case::plain("response-replaced", Sent::get("/").answer("cookies").script("response_headers: replace 2 set-cookie only=1; response_headers: replace 2 :status 299")),
        Case::plain("response-forged-removed", Sent::get("/").answer("forged").script("response_headers: remove 2 x-portcullis-subject")),
        Case::plain("head", Sent { method: "HEAD".into(), ..Sent::get("/") }.script("request_headers: note; response_headers: note; response_headers: get 2 content-length")),
        Case::plain("no-content", Sent::get("/").answer("no-content").script("response_headers: note; response_part: note; response_end: note")),
        Case::plain("query", Sent::get("/up?a=1&b=%20").script("request_headers: property request|path; request_headers: property request|url_path; request_headers: property request|query")),
        // A map from a module may have 1,024 entries and 1 MiB; a bigger one is taken as empty.
        flooded("flood-to-the-last-entry", 1024, 1),
        flooded("flood-by-an-entry", 1025, 1),
        flooded("flood-to-the-last-byte", 1, (1 << 20) - 17),
        flooded("flood-by-a-byte", 1, (1 << 20) - 16),
        Case::plain("map-malformed", Sent::chunks("/", &["a"], &[("x-t", "1")]).script("request_trailers: set_map 1 x; request_trailers: size 1; request_trailers: set_map 1 %ff%ff%ff%ff; request_trailers: size 1; request_trailers: set_map 1 %01%00%00%00%01%00%00%00%01%00%00%00a%00b; request_trailers: size 1; request_trailers: set_map 1; request_trailers: set_pairs 1 x-sum 1")),
        // What is no HTTP/1.1 ends in the codec: a plugin sees it in its log callback only.
        Case::new(
            "refused-by-the-codec",
            Setup::named("refused-by-the-codec").plugin(
                "request_headers: log 2 [refused-by-the-codec-x]request; response_headers: log 2 [refused-by-the-codec-x]response; \
                 log: case refused-by-the-codec-x; log: note; log: get 0 :path; log: size 0; log: size 2; log: get 0 x-case; log: get 2 :status; \
                 log: property response|code; log: property response|flags; log: property response|code_details; \
                 log: property request|path; log: property request|protocol; log: has_property request|time; \
                 log: has_property request|duration; log: has_property source|address; log: property response|size; \
                 done: case refused-by-the-codec-x; done: note",
            ),
            vec![Sent::get("/\u{e9}"), Sent::get("/")],
        ),
        Case::new(
            "order-of-two",
            Setup::named("two")
                .plugin("request_headers: add 0 x-order first; response_headers: add 2 x-order first; log: note; done: note")
                .plugin("request_headers: get 0 x-order; request_headers: add 0 x-order second; response_headers: get 2 x-order; response_headers: add 2 x-order second; log: note; done: note"),
            vec![Sent::get("/")],
        ),
    ]
}

/// Trailers in the place of those that came: so many, each with a value of so many bytes.
fn flooded(name: &'static str, count: usize, size: usize) -> Case {
    let script = format!(
        "request_trailers: flood 1 {count} {size}; request_trailers: size 1; request_trailers: get 1 x-none; \
         request_trailers: set_pairs 1 x-sum 1"
    );
    Case::plain(name, Sent::chunks("/", &["a"], &[("x-t", "1")]).script(&script))
}

/// Two headers of a name in a response.
fn answered(name: &'static str) -> Case {
    let case: &'static str = Box::leak(format!("answered-twice-{name}").into_boxed_str());
    let script = format!(
        "response_headers: add 2 {name} one; response_headers: add 2 {name} two; response_headers: get 2 {name}"
    );
    Case::plain(case, Sent::get("/").script(&script))
}

/// Two headers of a name: does the filter see one entry or two?
fn joined(name: &'static str) -> Case {
    let case: &'static str = Box::leak(format!("twice-{name}").into_boxed_str());
    let sent = Sent::get("/").header(name, "one").header(name, "two").script(&format!(
        "request_headers: get 0 {name}; request_headers: add 0 {name} three; request_headers: get 0 {name}; request_headers: size 0"
    ));
    Case::plain(case, sent)
}
