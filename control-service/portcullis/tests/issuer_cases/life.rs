//! The life of an issuer's keys: outages, withdrawals, expiry, a source that is replaced.

use crate::*;

#[tokio::test]
async fn an_outage_is_told_and_changes_nothing_and_a_withdrawn_key_goes() {
    let idp = Idp::start().await;
    let down = Idp::start().await;
    down.set(0);
    let server = start(1, json!([down.issuer("https://down.example.com"), idp.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    let state = async |at: usize| {
        let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
        (text(&list["issuers"][at]["state"]), list)
    };
    until("it is fresh", async || state(1).await.0 == "fresh").await;
    until("the other one is missing", async || state(0).await.1["issuers"][0]["failed"] != 0).await;
    assert_eq!(state(0).await.0, "missing");
    assert_eq!(refresh(&server, "https://down.example.com", "9").await, 502);
    idp.set(0);
    until("it is stale", async || state(1).await.0 == "stale").await;
    let list = state(1).await.1;
    assert_eq!(list["issuers"][1]["keys"], json!(["1"]));
    assert!(text(&list["issuers"][1]["last_error"]).contains("answered 500"));
    server.until_logged("keys are stale from now on").await;
    let metrics = async || {
        let url = server.url("operations", "/metrics");
        server.http.get(url).send().await.unwrap().text().await.unwrap()
    };
    let found = metrics().await;
    for line in [
        "portcullis_issuer_keys_stale{issuer=\"https://up.example.com\"} 1",
        "portcullis_issuer_keys{issuer=\"https://up.example.com\"} 1",
        "portcullis_issuer_keys_stale{issuer=\"https://down.example.com\"} 1",
        "portcullis_issuer_keys_age_seconds{issuer=\"https://up.example.com\"}",
        "portcullis_issuer_fetch_failures_total{issuer=\"https://down.example.com\"}",
    ] {
        assert!(found.contains(line), "{line} not in {found}");
    }
    reader.poll(&server, 0).await;
    assert_eq!(kids(&reader, NAME), ["1"], "the last good key stays");
    // Back again, and the old key is withdrawn: it is gone with the next fetch.
    idp.set(2);
    until_kids(&server, &mut reader, NAME, &["2"]).await;
    until("it is fresh", async || state(1).await.0 == "fresh").await;
    assert!(metrics().await.contains("portcullis_issuer_keys_stale{issuer=\"https://up.example.com\"} 0"));
    server.until_logged("keys are fresh again").await;
}

#[tokio::test]
async fn an_issuer_that_withdraws_its_only_key_has_none() {
    let idp = Idp::start().await;
    let mut server = start(1, json!([idp.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    idp.withdraw();
    let begun = Instant::now();
    until_kids(&server, &mut reader, NAME, &[]).await;
    assert!(begun.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", begun.elapsed());
    assert!(!reader.state.issuer(NAME).unwrap().keys_expired);
    server.until_logged("the issuer publishes no usable key").await;
    let state = async |server: &Server| {
        let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
        text(&list["issuers"][0]["state"])
    };
    until("it is empty", async || state(&server).await == "empty").await;
    let url = server.url("operations", "/metrics");
    let metrics = server.http.get(url).send().await.unwrap().text().await.unwrap();
    for line in [
        "portcullis_issuer_keys_empty{issuer=\"https://up.example.com\"} 1",
        "portcullis_issuer_keys_stale{issuer=\"https://up.example.com\"} 0",
        "portcullis_issuer_keys{issuer=\"https://up.example.com\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} not in {metrics}");
    }
    // A failure after that brings nothing back, and neither does a restart.
    idp.set(0);
    server.until_logged("keys could not be fetched").await;
    server.restart().await;
    let mut again = server.reader("gateway", GATEWAY, "02");
    again.sync(&server).await;
    assert_eq!(kids(&again, NAME), Vec::<String>::new());
    assert_eq!(state(&server).await, "empty");
    idp.set(2);
    until_kids(&server, &mut again, NAME, &["2"]).await;
}

#[tokio::test]
async fn new_keys_that_cannot_be_published_are_published_later() {
    let idp = Idp::start().await;
    let server = start(1, json!([idp.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    // From here on every change of the snapshot fails, and everything else can be stored.
    let database = rusqlite::Connection::open(server.folder.path().join("data/portcullis.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let trigger =
        "CREATE TRIGGER fails BEFORE INSERT ON snapshot_entry BEGIN SELECT RAISE(ABORT, 'test'); END";
    database.execute_batch(trigger).unwrap();
    idp.set(2);
    server.until_logged("keys could not be stored").await;
    // The next fetches bring the same keys.
    let asked = idp.asked.load(Ordering::SeqCst);
    until("it was fetched again", async || idp.asked.load(Ordering::SeqCst) > asked + 1).await;
    database.execute_batch("DROP TRIGGER fails").unwrap();
    let begun = Instant::now();
    until_kids(&server, &mut reader, NAME, &["2"]).await;
    assert!(begun.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_of_a_source_that_was_replaced_is_not_used() {
    let (old, new) = (Idp::start().await, Idp::start().await);
    let server = start(3600, json!([old.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    // A filter's wish hangs at the old source while the configuration names another one.
    old.hang(true);
    old.set(7);
    new.set(2);
    let wish = KeyRefresh { issuer: NAME.to_owned(), key_id: "7".to_owned() }.encode_to_vec();
    let wish = tokio::spawn(server.mesh(Method::POST, "/mesh/v1/keys/refresh", GATEWAY).body(wish).send());
    until("the old source is asked", async || old.asked.load(Ordering::SeqCst) == 2).await;
    let mut config = common::configuration();
    config["jwksRefreshSeconds"] = json!(3600);
    config["issuers"] = json!([new.issuer(NAME)]);
    common::write_config(server.folder.path(), &config);
    server.signal("HUP");
    until_kids(&server, &mut reader, NAME, &["2"]).await;
    old.hang(false);
    assert_eq!(wish.await.unwrap().unwrap().status(), 502);
    reader.poll(&server, 0).await;
    assert_eq!(kids(&reader, NAME), ["2"]);
}

#[tokio::test]
async fn keys_that_an_issuer_has_not_confirmed_for_too_long_are_refused() {
    let idp = Idp::start().await;
    let mut short = idp.issuer(NAME);
    short["maxStaleSeconds"] = json!(3);
    let patient = "https://patient.example.com";
    let mut server = start(1, json!([short, idp.issuer(patient)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    until_kids(&server, &mut reader, patient, &["1"]).await;
    let expired = |reader: &Reader, issuer: &str| reader.state.issuer(issuer).unwrap().keys_expired;
    assert!(!expired(&reader, NAME));
    let begun = Instant::now();
    idp.set(0);
    while !expired(&reader, NAME) {
        reader.poll(&server, 1).await;
        assert!(begun.elapsed() < Duration::from_secs(3) + SLACK, "{}", server.log());
    }
    assert!(begun.elapsed() > Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(kids(&reader, NAME), Vec::<String>::new());
    // The other issuer is as long away, and may be.
    assert!(!expired(&reader, patient));
    assert_eq!(kids(&reader, patient), ["1"]);
    let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
    let states = [&list["issuers"][0]["state"], &list["issuers"][1]["state"]];
    assert_eq!(states, ["expired", "stale"]);
    let url = server.url("operations", "/metrics");
    let metrics = server.http.get(url).send().await.unwrap().text().await.unwrap();
    for line in [
        "portcullis_issuer_keys_expired{issuer=\"https://up.example.com\"} 1",
        "portcullis_issuer_keys_expired{issuer=\"https://patient.example.com\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} not in {metrics}");
    }
    // A restart does not make old keys young again.
    server.restart().await;
    let mut again = server.reader("gateway", GATEWAY, "02");
    again.sync(&server).await;
    assert!(expired(&again, NAME) && !expired(&again, patient));
    // The issuer is back with the same key: it is good again, and soon.
    idp.set(1);
    let begun = Instant::now();
    until_kids(&server, &mut again, NAME, &["1"]).await;
    assert!(
        !expired(&again, NAME) && begun.elapsed() < Duration::from_secs(1) + SLACK,
        "{:?}",
        begun.elapsed()
    );
}

/// What filters cannot verify with is told where an operator looks, and no state calls such an issuer well.
#[tokio::test]
async fn a_key_that_is_not_used_is_told_by_name_and_reason() {
    let idp = Idp::start().await;
    idp.publish(json!([
        common::public_jwk("schlüssel, one"),
        {"kty": "OKP", "crv": "Ed25519", "kid": "cut", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "other", "alg": "RS512", "x": "AAAA"},
        7,
    ]));
    let server = start(1, json!([idp.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["schlüssel, one"]).await;
    let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
    assert_eq!(list["issuers"][0]["keys"], json!(["schlüssel, one"]));
    until("all are told", async || {
        let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
        let told = list["left_out"].as_array().unwrap().clone();
        let kids: Vec<_> = told.iter().map(|left| left["kid"].clone()).collect();
        kids == [json!(null), json!("cut"), json!("other")]
            && text(&told[1]["reason"]).contains("has no `x`")
            && text(&told[2]["reason"]).contains("RS512")
    })
    .await;
    server.until_logged("keys of the issuer that are not used").await;
    // Said once, although it is fetched each second.
    let asked = idp.asked.load(Ordering::SeqCst);
    until("it was fetched again", async || idp.asked.load(Ordering::SeqCst) > asked + 1).await;
    assert_eq!(server.log().matches("keys of the issuer that are not used").count(), 1, "{}", server.log());
    // None that can be used: it was fetched a moment ago, and is not well.
    idp.publish(json!([{"kty": "OKP", "crv": "Ed25519", "kid": "cut", "x": "AAAA"}]));
    until_kids(&server, &mut reader, NAME, &[]).await;
    until("it is empty", async || {
        let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
        text(&list["issuers"][0]["state"]) == "empty" && list["left_out"][0]["kid"] == "cut"
    })
    .await;
}

/// A bad signature says that a key may have been replaced under its name. Anybody can make one, so that costs the
/// issuer one fetch a minute, and nothing of what is there for unknown names.
#[tokio::test]
async fn a_key_that_is_replaced_under_its_name_is_fetched_and_other_wishes_have_all_that_is_theirs() {
    let idp = Idp::start().await;
    let old = json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "Xw92wEjNwOSKTqfzo0U_cEtlsFzXvC71h0NclZ6S1cc"});
    idp.publish(json!([old]));
    let server = start(3600, json!([idp.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    let x = |reader: &Reader| reader.state.issuer(NAME).unwrap().jwks.keys[0].x.clone().unwrap();
    let before = x(&reader);
    idp.publish(json!([common::public_jwk("1")]));
    assert_eq!(refresh(&server, NAME, "1").await, 204, "it is known by its name");
    assert_eq!(idp.asked.load(Ordering::SeqCst), 1);
    assert_eq!(refresh(&server, NAME, "").await, 204);
    reader.poll(&server, 0).await;
    assert_ne!(x(&reader), before);
    for _ in 0..20 {
        assert_eq!(refresh(&server, NAME, "").await, 429);
    }
    assert_eq!(idp.asked.load(Ordering::SeqCst), 2);
    for n in 0..4 {
        assert_eq!(refresh(&server, NAME, &format!("made-up-{n}")).await, 204);
    }
    assert_eq!(idp.asked.load(Ordering::SeqCst), 6);
}

/// One that is down is asked ever more rarely, and the log says it once.
#[tokio::test]
async fn an_issuer_that_never_answers_is_left_alone_more_and_more() {
    let idp = Idp::start().await;
    idp.set(0);
    let server = start(1, json!([idp.issuer(NAME)])).await;
    until("it is asked", async || idp.asked.load(Ordering::SeqCst) > 0).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    // After 0, at least 0.5, 1, 2 and 4 s, and not before 7.5 and 15.5 s; once a second they were ten.
    let asked = idp.asked.load(Ordering::SeqCst);
    assert!((3..=6).contains(&asked), "{asked}");
    assert_eq!(server.log().matches("keys could not be fetched").count(), 1, "{}", server.log());
    idp.set(1);
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    server.until_logged("keys are fresh again").await;
}

/// One that asks for a rest has it, from filters' wishes too.
#[tokio::test]
async fn an_issuer_that_asks_to_be_left_alone_is() {
    let idp = Idp::start().await;
    idp.set(0);
    idp.rest_s.store(4, Ordering::SeqCst);
    let server = start(1, json!([idp.issuer(NAME)])).await;
    until("it is asked", async || idp.asked.load(Ordering::SeqCst) > 0).await;
    let begun = Instant::now();
    until("its answer is known", async || refresh(&server, NAME, "1").await == 429).await;
    idp.set(1);
    until("it is asked again", async || idp.asked.load(Ordering::SeqCst) > 1).await;
    assert!(begun.elapsed() > Duration::from_millis(3_500), "{:?}", begun.elapsed());
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
}
