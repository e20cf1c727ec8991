//! Credentials in odd places, several at a time, and headers that would pass for ours.

use portcullis_testhost::Request;

use super::{Attack, by};
use crate::world::{self, API_KEY, good, identity_token, to};

const PEER: &str = "spiffe://cluster.local/ns/a/sa/b";

fn host(path: &str) -> Request {
    Request::get(path).authority("acme-1.clusters.platform.test")
}

pub(crate) fn attacks() -> Vec<Attack> {
    [authorization(), api_keys(), cookies_and_queries(), several(), forged()].concat()
}

fn authorization() -> Vec<Attack> {
    let token = world::token(|_| ());
    let with = |name, value: &str, reason| by(name, to("acme-1").header("authorization", value), 401, reason);
    let (malformed, unsupported) = ("credential_malformed", "credential_unsupported");
    vec![
        with("the scheme alone", "Bearer", malformed),
        with("no scheme", &token, malformed),
        with("a tab after the scheme", &format!("Bearer\t{token}"), malformed),
        with("a colon after the scheme", &format!("Bearer: {token}"), unsupported),
        with("two schemes", &format!("Bearer Bearer {token}"), malformed),
        with("something behind the token", &format!("Bearer {token} x"), malformed),
        with("another scheme", &format!("Token {token}"), unsupported),
        with("DPoP", &format!("DPoP {token}"), unsupported),
        with("Basic", "Basic YW5uOnBhc3M=", unsupported),
        with("Negotiate", "Negotiate YII=", unsupported),
        with("an opaque token that nobody issued", "Bearer op_guess", "token_inactive"),
        with("an opaque token of no provider", "Bearer other", unsupported),
        by(
            "Proxy-Authorization",
            to("acme-1").header("proxy-authorization", format!("Bearer {token}")),
            401,
            "credential_missing",
        ),
        by(
            "X-Authorization",
            to("acme-1").header("x-authorization", format!("Bearer {token}")),
            401,
            "credential_missing",
        ),
        by(
            "a misspelt header",
            to("acme-1").header("authorization_", format!("Bearer {token}")),
            401,
            "credential_missing",
        ),
        by(
            "a token in a trailer",
            to("acme-1").trailer("authorization", format!("Bearer {token}")),
            401,
            "credential_missing",
        ),
    ]
}

fn api_keys() -> Vec<Attack> {
    let key = |name, value: &str, reason| by(name, to("acme-1").header("x-api-key", value), 401, reason);
    let unknown = "api_key_unknown";
    vec![
        key("an empty API key", "", "credential_malformed"),
        key("the prefix alone", "pck_", unknown),
        key("a cut API key", &API_KEY[..API_KEY.len() - 1], unknown),
        key("a longer API key", &format!("{API_KEY}x"), unknown),
        key("an API key in capitals", &API_KEY.to_uppercase(), unknown),
        key("the public id", "0001", unknown),
        key("a star", "*", unknown),
        key("a token as API key", &world::token(|_| ()), unknown),
        key("an identity token as API key", &identity_token("acme-1"), unknown),
        key("an API key with a space", &format!("{API_KEY} x"), "credential_malformed"),
        by(
            "an API key as Basic password",
            to("acme-1").header("authorization", "Basic OnBja18wMDAxX3NlY3JldA=="),
            401,
            "credential_unsupported",
        ),
    ]
}

fn cookies_and_queries() -> Vec<Attack> {
    let token = world::token(|_| ());
    let cookie = |name, value: String, reason| by(name, host("/v1").header("cookie", value), 401, reason);
    let query = |name, query: String, reason| by(name, host(&format!("/v1?{query}")), 401, reason);
    let (missing, malformed, unsupported) =
        ("credential_missing", "credential_malformed", "credential_unsupported");
    vec![
        cookie("an empty cookie", "session=".into(), malformed),
        cookie("a cookie in quotes", format!("session=\"{token}\""), malformed),
        cookie("a cookie in capitals", format!("Session={token}"), missing),
        cookie("a cookie with a longer name", format!("xsession={token}"), missing),
        cookie("a cookie within a cookie", format!("a=session={token}"), missing),
        cookie("an identity token in a cookie", format!("session={}", identity_token("acme-1")), unsupported),
        cookie("an API key in a cookie", format!("session={API_KEY}"), unsupported),
        by(
            "a cookie with a path selector",
            to("acme-1").header("cookie", format!("session={token}")),
            401,
            unsupported,
        ),
        query("an empty parameter", "access_token=".into(), malformed),
        query("a parameter in capitals", format!("Access_Token={token}"), missing),
        query("a parameter with brackets", format!("access_token[]={token}"), missing),
        query("a parameter behind a semicolon", format!("a=1;access_token={token}"), missing),
        query("a parameter behind the fragment", format!("a=1#access_token={token}"), missing),
        query("a token encoded twice", format!("access_token={}", token.replace('.', "%252E")), unsupported),
        query("a cut escape", format!("access_token={token}%2"), malformed),
        query("an escape that is none", format!("access_token={token}%zz"), malformed),
        query("an encoded NUL", format!("access_token={token}%00"), malformed),
        query("an encoded space", format!("access_token={token}%20"), malformed),
        query("a plus behind the token", format!("access_token={token}+"), malformed),
        query("an encoded API key in the query", format!("access_token=%70{}", &API_KEY[1..]), unsupported),
        query(
            "an identity token in the query",
            format!("access_token={}", identity_token("acme-1")),
            unsupported,
        ),
        query("an API key in the query", format!("access_token={API_KEY}"), unsupported),
    ]
}

fn several() -> Vec<Attack> {
    let token = world::token(|_| ());
    let bearer = format!("Bearer {token}");
    let two = |name, request: Request| by(name, request, 400, "credential_ambiguous");
    let cookie = format!("session={token}");
    let with_query = || host(&format!("/v1?access_token={token}"));
    vec![
        two("the same token twice", good("acme-1").header("authorization", &bearer)),
        two("a good and a bad token", good("acme-1").header("authorization", "Bearer x")),
        two("two tokens by a comma", to("acme-1").header("authorization", format!("{bearer}, {bearer}"))),
        two("a comma at the end", to("acme-1").header("authorization", format!("{bearer},"))),
        two("Basic and Bearer", to("acme-1").header("authorization", format!("Basic a, {bearer}"))),
        two("a token and an API key", good("acme-1").header("x-api-key", API_KEY)),
        two("two API keys", to("acme-1").header("x-api-key", API_KEY).header("x-api-key", API_KEY)),
        two("a token and another header", good("acme-1").header("x-token", &token)),
        two("another header twice", to("acme-1").header("x-token", &token).header("x-token", &token)),
        two("a token and a cookie", host("/v1").header("authorization", &bearer).header("cookie", &cookie)),
        two("two cookies", host("/v1").header("cookie", format!("{cookie}; {cookie}"))),
        two("a cookie and the query", with_query().header("cookie", &cookie)),
        two("two parameters", host(&format!("/v1?access_token={token}&access_token={token}"))),
        two("two parameters, one encoded", host(&format!("/v1?access_token={token}&%61ccess_token=x"))),
        two("an API key and the query", with_query().header("x-api-key", API_KEY)),
        two("a token and an empty parameter", host("/v1?access_token").header("authorization", &bearer)),
    ]
}

fn forged() -> Vec<Attack> {
    let missing = "credential_missing";
    let with = |name, header: &str, value: &str| {
        by(name, to("acme-1").header(header, value), 401, "credential_missing")
    };
    let identity = identity_token("acme-1");
    vec![
        with("a good identity token in its header", "x-portcullis-identity", &identity),
        with("the same with underscores", "x_portcullis_identity", &identity),
        with("the flat headers alone", "x-portcullis-subject", "ann"),
        with("a forged tenant", "x-portcullis-tenant", "acme"),
        with("a certificate in a header", "x-forwarded-client-cert", &format!("URI={PEER}")),
        with("a remote user", "x-remote-user", "ann"),
        with("an overriding method", "x-http-method-override", "OPTIONS"),
        with("a rewritten URL", "x-original-url", "/oauth2/token"),
        by("a peer that nobody knows", to("acme-1").peer(PEER), 401, "workload_unknown"),
        by("a peer of two ids", to("acme-1").peer(&format!("{PEER},{PEER}")), 401, missing),
        by(
            "two identity headers",
            good("acme-1").header("x-portcullis-identity", "a").header("x-portcullis-identity", "b"),
            400,
            "header_invalid",
        ),
        by("two hosts", good("acme-1").header("host", "other.test"), 400, "header_invalid"),
        by(
            "a platform path at a cluster's host",
            Request::post("/oauth2/token").authority("acme-1.clusters.platform.test"),
            401,
            missing,
        ),
        by(
            "a platform path with a cluster header",
            Request::post("/oauth2/token").header("x-target-cluster", "acme-1"),
            401,
            missing,
        ),
        by("a platform path below a cluster", Request::post("/clusters/acme-1/oauth2/token"), 401, missing),
        by("a platform path by another method", Request::get("/oauth2/token"), 405, "method_not_allowed"),
        by(
            "metadata by another method",
            Request::post("/.well-known/oauth-protected-resource"),
            401,
            missing,
        ),
        by(
            "a preflight",
            Request::new("OPTIONS", "/clusters/acme-1/")
                .header("origin", "https://a.test")
                .header("access-control-request-method", "GET"),
            403,
            "preflight_refused",
        ),
    ]
}
