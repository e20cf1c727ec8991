//! Who may do what: administrators, API keys, service clients, revocations, signing keys.

use std::time::Duration;

use portcullis_control_domain::Refused;
use portcullis_control_domain::api_key::{KeyRotation, NewApiKey};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::{Authority, Reach, Role};
use portcullis_control_domain::client::NewServiceClient;
use portcullis_control_domain::pause::PauseName;
use portcullis_control_domain::signing::{KeyChange, Purpose, SigningKey};
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_identity::SourceType;
use portcullis_protocol::wire::RecordKind;

use crate::on_both;
use crate::world::{World, action, action_of, caller, new_cluster, refused};

on_both! {
    administrators_come_and_go_but_for_the_last,
    an_api_key_is_rotated_and_revoked,
    a_service_client_has_two_secrets_for_a_while,
    a_revocation_stands_until_it_is_taken_back_or_has_ended,
    a_signing_key_is_published_signs_and_goes,
    who_failed_waits_whatever_replica_is_asked_and_only_what_is_counted_is_audited,
    who_is_bound_finds_and_changes_what_is_theirs,
}

async fn administrators_come_and_go_but_for_the_last(world: World) {
    let made = world.database(|mut database| {
        let first = database.bootstrap_administrator(false, None)?.unwrap();
        assert!(database.bootstrap_administrator(false, None)?.is_none());
        Ok((first, database.bootstrap_administrator(true, Some(1))?.unwrap()))
    });
    let (first, ended) = made.await.unwrap();
    let store = world.store().await;
    assert!(store.caller(&first).await.unwrap().is_some());
    assert!(store.caller(&ended).await.unwrap().is_none(), "its token has ended");
    assert!(store.caller(&Token::generate(TokenKind::Administrator)).await.unwrap().is_none());
    let last = store.revoke_administrator(first.id().to_owned(), false, action("/v1/admins")).await;
    assert_eq!(refused(last), Refused::AdministratorLast);
    let (second, token) = store
        .create_administrator(Role::Administrator, None, caller(Role::Administrator), action("/v1/admins"))
        .await
        .unwrap();
    store.revoke_administrator(first.id().to_owned(), false, action("/v1/admins")).await.unwrap();
    assert!(store.caller(&first).await.unwrap().is_none());
    assert!(store.caller(&token).await.unwrap().is_some());
    let unknown = store.revoke_administrator("nobody".to_owned(), false, action("/v1/admins")).await;
    assert_eq!(refused(unknown), Refused::AdministratorUnknown);
    let page = store.administrators(Reach::Platform, String::new(), 2).await.unwrap();
    let rest = store.administrators(Reach::Platform, page.next.clone().unwrap(), 2).await.unwrap();
    let all: Vec<_> = page.items.iter().chain(&rest.items).collect();
    assert!(all.is_sorted_by_key(|administrator| administrator.id.as_bytes()) && all.len() == 3);
    assert!(all.iter().any(|a| a.id == second.id && a.revoked_at_ms.is_none() && !a.break_glass));
    assert!(all.iter().any(|a| a.break_glass && a.expires_at_s == Some(1)));
}

pub(crate) fn new_key(tenant: &str) -> NewApiKey {
    NewApiKey {
        tenant: tenant.parse().unwrap(),
        subject: "ingest-job".parse().unwrap(),
        source_type: SourceType::Worker,
        roles: vec!["reader".parse().unwrap(), "writer".parse().unwrap()],
        scopes: Vec::new(),
        expires_at_s: Some(4_000_000_000),
    }
}

async fn an_api_key_is_rotated_and_revoked(world: World) {
    let store = world.store().await;
    let pepper = [7; 32];
    let (key, _, revision) =
        store.create_api_key(new_key("acme"), &pepper, action("/v1/keys")).await.unwrap();
    let how = KeyRotation { overlap_s: 60, expires_at_s: None };
    let rotated = store.rotate_api_key(key.id.clone(), how, &pepper, action("/v1/keys")).await.unwrap();
    assert!(rotated.revision > revision && rotated.old.replaced_by.as_ref() == Some(&rotated.new.id));
    let again = store.rotate_api_key(key.id.clone(), how, &pepper, action("/v1/keys")).await;
    assert_eq!(refused(again), Refused::ApiKeyEnded);
    let (revoked, at) = store.revoke_api_key(rotated.new.id.clone(), action("/v1/keys")).await.unwrap();
    let (_, same) = store.revoke_api_key(rotated.new.id.clone(), action("/v1/keys")).await.unwrap();
    assert!(revoked.revoked_at_ms.is_some() && at == same, "revoked twice, it changes nothing");
    let unknown = store.revoke_api_key("nothing".to_owned(), action("/v1/keys")).await;
    assert_eq!(refused(unknown), Refused::ApiKeyUnknown);
    store.create_api_key(new_key("globex"), &pepper, action("/v1/keys")).await.unwrap();
    let acme = store.api_keys(Reach::Platform, Some("acme".to_owned()), String::new(), 10).await.unwrap();
    assert_eq!((acme.items.len(), acme.next), (2, None));
    assert!(acme.items.iter().all(|key| key.roles == ["reader", "writer"] && key.scopes.is_empty()));
    assert_eq!(store.api_keys(Reach::Platform, None, String::new(), 10).await.unwrap().items.len(), 3);
    let published = store.hub().excerpt(&[RecordKind::ApiKey]);
    assert_eq!(published.records.iter().filter(|record| !record.removed).count(), 2);
}

async fn a_service_client_has_two_secrets_for_a_while(world: World) {
    let store = world.store().await;
    let new = NewServiceClient {
        id: "etl".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        roles: vec!["reader".parse().unwrap()],
        scopes: vec!["data:read".parse().unwrap()],
        audiences: vec!["https://data.example".to_owned()],
        may_exchange: true,
        lifetime_s: 600,
    };
    let (client, first) = store.create_service_client(new.clone(), action("/v1/clients")).await.unwrap();
    let twice = store.create_service_client(new, action("/v1/clients")).await;
    assert_eq!(refused(twice), Refused::ServiceClientExists);
    let (_, second) = store.rotate_service_client("etl".into(), 60_000, action("/v1/clients")).await.unwrap();
    let (found, secrets) = store.service_client("etl".into()).await.unwrap().unwrap();
    let digests: Vec<_> = secrets.iter().map(|secret| secret.digest).collect();
    assert_eq!(digests, [second.digest(), first.digest()]);
    assert!(found.may_exchange && found.audiences == client.audiences && found.lifetime_s == 600);
    store.rotate_service_client("etl".into(), 0, action("/v1/clients")).await.unwrap();
    let (_, secrets) = store.service_client("etl".into()).await.unwrap().unwrap();
    assert_eq!(secrets.len(), 1, "the old one is good for no time at all");
    store.revoke_service_client("etl".into(), action("/v1/clients")).await.unwrap();
    assert!(store.service_client("etl".into()).await.unwrap().is_none());
    let late = store.rotate_service_client("etl".into(), 0, action("/v1/clients")).await;
    assert_eq!(refused(late), Refused::ServiceClientRevoked);
    let unknown = store.revoke_service_client("nobody".into(), action("/v1/clients")).await;
    assert_eq!(refused(unknown), Refused::ServiceClientUnknown);
    assert_eq!(
        store
            .service_clients(Reach::Platform, Some("acme".into()), String::new(), 5)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(
        store.service_clients(Reach::Platform, Some("globex".into()), String::new(), 5).await.unwrap().items,
        []
    );
    let ends = store.revocations(Reach::Platform, String::new(), 5).await.unwrap();
    assert!(ends.items.iter().any(|revocation| revocation.name == "service_client:acme etl"));
}

async fn a_revocation_stands_until_it_is_taken_back_or_has_ended(world: World) {
    let store = world.store().await;
    let add =
        |name: &str, end| store.add_revocation(name.to_owned(), "why".into(), end, action("/v1/revocations"));
    let (_, revision) = add("sub:zoë", None).await.unwrap();
    assert_eq!(refused(add("sub:zoë", None).await), Refused::RevocationExists);
    add("jti:1", Some(1)).await.unwrap();
    add("jti:2", Some(4_000_000_000)).await.unwrap();
    assert_eq!(store.remove_ended_revocations(store.term().unwrap()).await.unwrap(), 1);
    let names = |listed: Vec<_>| -> Vec<String> {
        listed.into_iter().map(|r: portcullis_control_domain::revocation::Revocation| r.name).collect()
    };
    let listed = store.revocations(Reach::Platform, String::new(), 1).await.unwrap();
    assert_eq!(names(listed.items), ["jti:2"]);
    let rest = store.revocations(Reach::Platform, listed.next.unwrap(), 5).await.unwrap();
    assert_eq!(names(rest.items), ["sub:zoë"]);
    let back = store.remove_revocation("sub:zoë".into(), action("/v1/revocations")).await.unwrap();
    assert!(back.1 > revision);
    let again = store.remove_revocation("sub:zoë".into(), action("/v1/revocations")).await;
    assert_eq!(refused(again), Refused::RevocationUnknown);
    let published = store.hub().excerpt(&[RecordKind::Revocation]);
    let left: Vec<_> = published.records.iter().filter(|r| !r.removed).map(|r| r.key.clone()).collect();
    assert_eq!(left, [b"jti:2".to_vec()]);
}

async fn a_signing_key_is_published_signs_and_goes(world: World) {
    let store = world.store().await;
    let first = store.signing_keys_now().await.unwrap().0;
    assert_eq!(first.iter().filter(|key| key.signs()).count(), 2, "one of each purpose");
    let new = SigningKey::generate(Purpose::Identity);
    let step = |change| store.change_signing_key(None, change, action("/v1/signing-keys"));
    step(KeyChange::Publish(new.clone())).await.unwrap();
    let second = step(KeyChange::Publish(SigningKey::generate(Purpose::Identity))).await;
    assert_eq!(refused(second), Refused::RotationUnderWay);
    step(KeyChange::Activate(new.clone())).await.unwrap();
    let audited = store.audit_status().await.unwrap().total;
    step(KeyChange::Activate(new.clone())).await.unwrap();
    assert_eq!(store.audit_status().await.unwrap().total, audited, "another replica has taken this step");
    let keys = store.signing_keys_now().await.unwrap().0;
    let signing: Vec<_> = keys.iter().filter(|k| k.purpose == Purpose::Identity && k.signs()).collect();
    assert_eq!(signing.iter().map(|key| &key.kid).collect::<Vec<_>>(), [&new.kid]);
    let old = keys.iter().find(|k| k.purpose == Purpose::Identity && !k.signs()).unwrap();
    let record = |kid: &str| store.record_token(kid.to_owned(), action("/oauth2/token").record(200, ""));
    assert!(record(&new.kid).await.unwrap());
    assert!(!record(&old.kid).await.unwrap(), "no token is given out by a key that does not sign any more");
    step(KeyChange::Forget(old.clone())).await.unwrap();
    assert_eq!(store.signing_keys_now().await.unwrap().0.len(), 2);
    let published = store.hub().excerpt(&[RecordKind::IdentityKey]);
    assert_eq!(published.records.iter().filter(|record| !record.removed).count(), 1);
    store.close().await;
    drop(store);
    let kids: Vec<_> =
        world.store().await.signing_keys_now().await.unwrap().0.into_iter().map(|key| key.kid).collect();
    assert!(kids.contains(&new.kid) && kids.len() == 2, "the secrets open again: {kids:?}");
}

async fn who_failed_waits_whatever_replica_is_asked_and_only_what_is_counted_is_audited(world: World) {
    let store = world.store().await;
    let (caller, other) = (PauseName::platform_caller("192.0.2.1"), PauseName::client("svc-a", true));
    let refuse = async |names: &[PauseName]| {
        store.refuse(names.to_vec(), action("/v1/clusters").record(401, "token_invalid")).await.unwrap()
    };
    for _ in 0..5 {
        assert_eq!(refuse(&[caller, other]).await, None);
    }
    let total = async || store.audit_status().await.unwrap().total;
    let audited = total().await;
    let waits = refuse(&[caller]).await.unwrap();
    assert!(waits <= Duration::from_secs(1), "{waits:?}");
    assert!(refuse(&[PauseName::token_caller("192.0.2.1"), other]).await.is_some(), "one is enough");
    assert_eq!(refuse(&[PauseName::token_caller("192.0.2.1")]).await, None, "the failure was not counted");
    assert_eq!(total().await, audited + 1);
    store.forgive(other).await.unwrap();
    assert_eq!(refuse(&[other]).await, None);
    let audited = total().await;
    tokio::time::sleep(waits + Duration::from_millis(10)).await;
    // Those that come at once when the pause is over get one try between them.
    let at_once = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.refuse(vec![caller], action("/").record(401, "")).await.unwrap() })
    });
    let mut tries = 0;
    for one in at_once.collect::<Vec<_>>() {
        tries += usize::from(one.await.unwrap().is_none());
    }
    assert_eq!((tries, total().await), (1, audited + 1));
    store.close().await;
    drop(store);
    let store = world.store().await;
    let refuse = || store.refuse(vec![caller], action("/").record(401, ""));
    // Should the pause be over already, the next one is longer.
    let waits = [refuse().await.unwrap(), refuse().await.unwrap()];
    assert!(waits.iter().any(Option::is_some), "a restart gives no new tries");
}

async fn who_is_bound_finds_and_changes_what_is_theirs(world: World) {
    let store = world.store().await;
    let (acme, globex) =
        (Role::TenantAdmin("acme".parse().unwrap()), Role::TenantAdmin("globex".parse().unwrap()));
    let by = |role: &Role| action_of(role.clone(), "/v1/things");
    let pepper = [7; 32];
    let key = store.create_api_key(new_key("acme"), &pepper, by(&acme)).await.unwrap().0;
    let elsewhere = store.create_api_key(new_key("acme"), &pepper, by(&globex)).await;
    assert_eq!(refused(elsewhere), Refused::OutOfReach);
    assert_eq!(refused(store.revoke_api_key(key.id.clone(), by(&globex)).await), Refused::ApiKeyUnknown);
    let nobody = AuditEvent::default();
    assert_eq!(
        refused(store.revoke_api_key(key.id, nobody).await),
        Refused::ApiKeyUnknown,
        "who is told of no role"
    );
    let keys =
        async |role: &Role| store.api_keys(role.reach(), None, String::new(), 9).await.unwrap().items.len();
    assert_eq!((keys(&acme).await, keys(&globex).await, keys(&Role::Operator).await), (1, 0, 1));
    assert_eq!(store.api_keys(Reach::Nothing, None, String::new(), 9).await.unwrap().items, []);

    let human = NewApiKey { source_type: SourceType::Human, ..new_key("acme") };
    assert_eq!(refused(store.create_api_key(human.clone(), &pepper, by(&acme)).await), Refused::HumanKey);
    let human = store.create_api_key(human, &pepper, by(&Role::Administrator)).await.unwrap().0;
    let how = KeyRotation { overlap_s: 0, expires_at_s: None };
    assert_eq!(
        refused(store.rotate_api_key(human.id, how, &pepper, by(&Role::Operator)).await),
        Refused::HumanKey
    );

    let add = async |name: &str, role: &Role| {
        store
            .add_revocation(name.to_owned(), String::new(), None, by(role))
            .await
            .map(|(made, _)| made.made_by)
    };
    let remove = async |name: &str, role: &Role| store.remove_revocation(name.to_owned(), by(role)).await;
    assert_eq!(add("user:acme - ann", &acme).await.unwrap(), Authority::Tenant);
    assert_eq!(add("user:acme - ann", &Role::Operator).await.unwrap(), Authority::Platform);
    assert_eq!(refused(add("user:acme - ann", &Role::Operator).await), Refused::RevocationExists);
    assert_eq!(refused(remove("user:acme - ann", &acme).await), Refused::HeldAbove);
    assert_eq!(refused(remove("user:acme - ann", &globex).await), Refused::RevocationUnknown);
    for name in ["user:acme-2 - ann", "user:globex - ann", "jti:1"] {
        add(name, &Role::Operator).await.unwrap();
    }
    let seen = store.revocations(acme.reach(), String::new(), 9).await.unwrap().items;
    assert_eq!(
        seen.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["user:acme - ann"],
        "and it still stands"
    );

    let grant = async |role: &Role, by_whom: &Role| {
        store.create_administrator(role.clone(), None, caller(by_whom.clone()), by(by_whom)).await
    };
    let owner = Role::ClusterOwner("acme".parse().unwrap(), "acme-1".parse().unwrap());
    assert_eq!(refused(grant(&owner, &acme).await), Refused::ClusterUnknown);
    for (id, tenant) in [("acme-1", "acme"), ("globex-1", "globex")] {
        store.register_cluster(new_cluster(id, tenant), by(&Role::Operator)).await.unwrap();
    }
    let elsewhere = Role::ClusterOwner("acme".parse().unwrap(), "globex-1".parse().unwrap());
    assert_eq!(refused(grant(&elsewhere, &acme).await), Refused::ClusterUnknown);
    assert_eq!(refused(grant(&elsewhere, &Role::Administrator).await), Refused::ClusterUnknown);
    let (made, token) = grant(&owner, &acme).await.unwrap();
    assert_eq!(store.caller(&token).await.unwrap().map(|caller| caller.role), Some(owner.clone()));
    assert_eq!(refused(grant(&owner, &globex).await), Refused::OutOfReach);
    assert_eq!(refused(grant(&Role::Operator, &acme).await), Refused::OutOfReach);
    let revoke = async |by_whom: &Role| store.revoke_administrator(made.id.clone(), false, by(by_whom)).await;
    assert_eq!(refused(revoke(&globex).await), Refused::AdministratorUnknown);
    revoke(&acme).await.unwrap();
    assert!(store.caller(&token).await.unwrap().is_none());
    assert_eq!(store.administrators(globex.reach(), String::new(), 9).await.unwrap().items, []);
}
