//! Tokens in headers, cookies and queries: what is found is what is taken out, and everything else stays.

use portcullis_authn::locations::{cookie_values, in_query, query_values, without_cookie, without_query};
use portcullis_authn::{Credential, Presented};
use portcullis_engine::head::Head;
use portcullis_engine::head::headers::Headers;
use portcullis_model::config::parse;
use portcullis_model::edge::TokenLocations;
use serde_json::json;

use crate::input::Input;

const NAMES: &[&str] = &["authorization", "x-api-key", "x-token", "cookie", ":path", "x-other"];
const VALUES: &[&str] = &[
    "Bearer a.b.c",
    "bearer  x",
    "pck_abc",
    "Token t",
    "session=t",
    "session=t; other=1",
    " session =t;session=u",
    "/p?access_token=t",
    "/p?x=1&access%5ftoken=t&y=2#access_token=u",
    "/p?access_token",
    "/clusters/a/p",
    "pca_1",
];

fn locations() -> TokenLocations {
    let config = json!({
        "role": "edge", "domain": "platform.test", "snapshot": {"upstream": "u", "key": crate::tokens::snapshot_key()},
        "tokens": {"headers": [{"name": "x-token", "prefix": "Token "}], "cookie": "session", "query": "access_token"},
    });
    parse(config.to_string().as_bytes()).map(|config| config.tokens).unwrap_or_default()
}

thread_local! {
    static LOCATIONS: TokenLocations = locations();
}

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let pairs: Vec<(String, Vec<u8>)> = (0..input.byte() % 7)
        .map(|_| {
            let name = input.pick(NAMES).to_owned();
            let value =
                if input.flag() { input.bytes(64).to_vec() } else { input.pick(VALUES).as_bytes().to_vec() };
            (name, value)
        })
        .collect();
    let slices: Vec<(&[u8], &[u8])> =
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
    let headers = Headers::from_pairs(&slices).expect("few and short");
    LOCATIONS.with(|locations| {
        assert!(!locations.is_usual(), "the configuration is read");
        let head = Head::read(&headers, "x-api-key");
        let in_query = in_query(head.path, locations);
        let presented = Presented::of(&head, &headers, &in_query, locations);
        if let Ok(credential) = presented.credential() {
            one(credential, &pairs, head.path);
        }
    });
    for (_, value) in &pairs {
        taken_out(value);
    }
}

/// The one credential: there is no other place in which something could be one.
fn one(credential: Credential<'_>, pairs: &[(String, Vec<u8>)], path: &[u8]) {
    let bytes = credential.bytes();
    assert!(!bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_graphic() && *b != b','));
    let count = |name: &str| pairs.iter().filter(|(known, _)| known == name).count();
    let cookies: usize = pairs
        .iter()
        .filter(|(name, _)| name == "cookie")
        .map(|(_, v)| cookie_values(v, "session").count())
        .sum();
    let all = count("authorization")
        + count("x-api-key")
        + count("x-token")
        + cookies
        + query_values(path, "access_token").count();
    assert_eq!(all, 1, "{pairs:?}");
}

fn taken_out(value: &[u8]) {
    let cookies = without_cookie(value, "session").unwrap_or_default();
    assert_eq!(cookie_values(&cookies, "session").count(), 0);
    assert!(cookie_values(&cookies, "other").eq(cookie_values(value, "other")));
    // A path without a query is never asked about.
    if !value.split(|b| *b == b'#').next().is_some_and(|before| before.contains(&b'?')) {
        return;
    }
    let found = query_values(value, "access_token").count();
    let rest = without_query(value, "access_token");
    assert_eq!(query_values(&rest, "access_token").count(), 0);
    assert!(query_values(&rest, "other").eq(query_values(value, "other")));
    assert!(found > 0 || rest == value);
}
