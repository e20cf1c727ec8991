//! Token exchange: what the new token may do, what ends it, and which token gets none.

use crate::*;

#[tokio::test]
async fn an_agent_acts_for_a_person_and_never_has_more_than_both() {
    let (server, idp) = start(|_| {}).await;
    let secret = client(&server, "svc-agent", json!({"may_exchange": true})).await;
    let second = client(&server, "svc-second", json!({"may_exchange": true})).await;
    let exchange = async |id: &str, secret: &str, subject: &str| {
        let form =
            [("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN), ("subject_token", subject)];
        good(&server, id, secret, &form).await
    };
    let answer = exchange("svc-agent", &secret, &token_of(&idp, &json!({}))).await;
    assert_eq!(text(&answer["issued_token_type"]), ACCESS_TOKEN);
    assert!(answer["expires_in"].as_u64().unwrap() <= 100, "no longer than the person's token: {answer}");
    let first = text(&answer["access_token"]);
    let principal = judge(&server, &first).await.unwrap().principal;
    assert_eq!((principal.subject.as_str(), principal.actors[0].as_str()), ("ann", "svc-agent"));
    let names =
        |list: &[portcullis_identity::ids::Role]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&principal.roles), ["reader"]);
    assert_eq!((principal.scopes.len(), principal.scopes[0].as_str()), (1, "b"));
    // A second agent in the chain, from a service token.
    let again = exchange("svc-second", &second, &first).await;
    let chain = judge(&server, &text(&again["access_token"])).await.unwrap().principal.actors;
    assert_eq!(chain.iter().map(|a| a.as_str()).collect::<Vec<_>>(), ["svc-second", "svc-agent"]);
    // Nobody acts for themselves: not in a token in which they act already, and not in their own.
    let own = text(&good(&server, "svc-agent", &secret, &PLAIN).await["access_token"]);
    for subject in [&first, &own] {
        let form =
            [("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN), ("subject_token", subject)];
        assert_eq!(refused(&server, "svc-agent", &secret, &form).await, (400, "invalid_grant".to_owned()));
    }
    // A person whose session is revoked is not acted for.
    let revoked = json!({"name": "sub:ann"});
    server.expect(201, Method::POST, "/v1/revocations", Some(revoked)).await;
    let subject = token_of(&idp, &json!({}));
    let form =
        [("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN), ("subject_token", subject.as_str())];
    assert_eq!(refused(&server, "svc-agent", &secret, &form).await, (400, "invalid_grant".to_owned()));
    let records = server.expect(200, Method::GET, "/v1/audit/records?subject=ann", None).await;
    assert_eq!(records["records"][0]["actors"], json!(["svc-agent"]));
}

#[tokio::test]
async fn an_exchanged_token_ends_with_everything_that_led_to_it() {
    let (server, idp) = start(|_| {}).await;
    let first = client(&server, "svc-first", json!({"may_exchange": true})).await;
    let second = client(&server, "svc-second", json!({"may_exchange": true})).await;
    let plain = client(&server, "svc-plain", json!({})).await;
    let exchange = async |id: &str, secret: &str, subject: &str| {
        let form =
            [("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN), ("subject_token", subject)];
        text(&good(&server, id, secret, &form).await["access_token"])
    };
    let extra = json!({"sid": "s-1", "jti": "t-1", "client_id": "web"});
    let once = exchange("svc-first", &first, &token_of(&idp, &extra)).await;
    let twice = exchange("svc-second", &second, &once).await;
    let own = text(&good(&server, "svc-plain", &plain, &PLAIN).await["access_token"]);
    let of_own = exchange("svc-second", &second, &own).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let names = judge_by(&reader.state, &once).unwrap().principal.derived_from;
    let kid = names.into_iter().find(|name| name.starts_with("kid:")).unwrap();
    assert_eq!(kid, "kid:idp");
    for name in ["sid:s-1", "jti:t-1", "kid:idp", "client:web", "sub:ann"] {
        server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": name}))).await;
        reader.sync(&server).await;
        for token in [&once, &twice] {
            assert_eq!(judge_by(&reader.state, token), Err(Reason::CredentialRevoked), "{name}");
        }
        let path = ["/v1/revocations?name=", name].concat();
        server.expect(200, Method::DELETE, &path, None).await;
        reader.sync(&server).await;
        assert!(judge_by(&reader.state, &twice).is_ok(), "{name} was taken back");
    }
    // The second token ends with the first one's own id, and with the client that made it.
    let id = judge_by(&reader.state, &once).unwrap().principal.token_id.unwrap();
    let name = ["jti:", &id].concat();
    server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": name}))).await;
    server.expect(200, Method::DELETE, "/v1/service-clients/svc-plain", None).await;
    reader.sync(&server).await;
    for token in [&once, &twice, &of_own] {
        assert_eq!(judge_by(&reader.state, token), Err(Reason::CredentialRevoked));
    }
}

#[tokio::test]
async fn a_token_that_a_gateway_would_refuse_is_not_exchanged() {
    let (server, idp) = start(|_| {}).await;
    let secret = client(&server, "svc-agent", json!({"may_exchange": true})).await;
    let ask = async |extra: Value| {
        let subject = token_of(&idp, &extra);
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token_type", ACCESS_TOKEN),
            ("subject_token", subject.as_str()),
        ];
        let answer = ask(&server, "svc-agent", &secret, &form).await;
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    // No source rule fits what somebody else acts for already.
    let (status, answer) = ask(json!({"act": {"sub": "somebody"}})).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    assert_eq!(answer["error_description"], "source_type_unknown");
    // The leeway is for clocks that differ: neither a longer life nor a new one comes of it.
    let (status, answer) = ask(json!({"exp": now_s() + 40})).await;
    let lives = answer["expires_in"].as_u64().unwrap();
    assert!(status == 200 && (30..=40).contains(&lives), "{answer}");
    let (status, answer) = ask(json!({"exp": now_s() - 5})).await;
    assert_eq!((status, &answer["error_description"]), (400, &json!("token_expired")));
}
