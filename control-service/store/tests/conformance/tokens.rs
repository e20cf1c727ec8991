//! Tokens of the platform API, and the persons by whose word they are good.

use portcullis_control_domain::Refused;
use portcullis_control_domain::api_key::KeyRotation;
use portcullis_control_domain::caller::{Caller, CallerCredential, Person, Reach, Role, Voucher};
use portcullis_control_domain::client::NewServiceClient;
use portcullis_control_domain::limits::{Made, TenantLimits};
use portcullis_control_domain::tokens::Token;
use portcullis_control_store::Store;

use crate::access::new_key;
use crate::on_both;
use crate::world::{World, action, action_of, caller, new_cluster, refused};

on_both! {
    a_token_ends_with_the_person_who_vouches_for_it_and_stays_ended,
    what_a_token_made_ends_with_it_where_that_is_asked_for,
    a_tenants_own_administrators_make_so_much_and_no_more,
}

const IDP: &str = "https://idp.example";

/// A person of the platform, by a credential that can be revoked by these names, too.
fn person(subject: &str, more: &[&str]) -> Caller {
    let name = ["user:ops ", IDP, " ", subject].concat();
    let person =
        Person { tenant: "ops".parse().unwrap(), issuer: IDP.to_owned(), subject: subject.to_owned() };
    let revoked_by = more.iter().map(|name| (*name).to_owned()).chain([name]).collect();
    let claims = serde_json::from_str(r#"{"groups": ["root"]}"#).unwrap();
    let looked_at = [vec!["groups".to_owned()]].into();
    let voucher = Voucher { person, configured: IDP.parse().unwrap(), revoked_by, claims, looked_at };
    let credential =
        CallerCredential::Person { issuer: IDP.to_owned(), subject: subject.to_owned(), key_id: None };
    Caller {
        credential,
        role: Role::Administrator,
        expires_at_s: None,
        voucher: Some(Box::new(voucher)),
        made_at_ms: None,
    }
}

async fn make(store: &Store, by: &Caller) -> Token {
    let action = action("/v1/administrators").by(by);
    store.create_administrator(Role::Administrator, None, by.clone(), action).await.unwrap().1
}

async fn who(store: &Store, token: &Token) -> Option<Caller> {
    store.caller(token).await.unwrap()
}

async fn a_token_ends_with_the_person_who_vouches_for_it_and_stays_ended(world: World) {
    let store = world.store().await;
    for (subject, names, revoked) in [
        ("ann", &["sub:ann"][..], "user:ops https://idp.example ann"),
        ("bob", &["sub:bob"], "sub:bob"),
        ("cat", &["sid:s-1"], "sid:s-1"),
        ("dan", &["kid:k-1"], "kid:k-1"),
    ] {
        let by = person(subject, names);
        let made = make(&store, &by).await;
        let found = who(&store, &made).await.unwrap();
        assert_eq!(found.voucher, by.voucher, "{subject}");
        // What that token makes is as good as the person's word, too.
        let second = make(&store, &found).await;
        let other = make(&store, &person("zoe", &[])).await;
        let add = store.add_revocation(revoked.to_owned(), String::new(), None, action("/v1/revocations"));
        add.await.unwrap();
        assert_eq!((who(&store, &made).await, who(&store, &second).await), (None, None), "{subject}");
        assert!(who(&store, &other).await.is_some());
        // Whoever was let in just before makes nothing any more.
        for caller in [&by, &found] {
            let action = action("/v1/administrators").by(caller);
            let late = store.create_administrator(Role::Operator, None, caller.clone(), action).await;
            assert_eq!(refused(late), Refused::CallerRevoked, "{subject}");
        }
        let remove = store.remove_revocation(revoked.to_owned(), action("/v1/revocations"));
        remove.await.unwrap();
        assert_eq!(who(&store, &made).await, None, "{subject}: the end of a revocation opens nothing");
    }
    let all = store.administrators(Reach::Platform, String::new(), 99).await.unwrap().items;
    let of_ann = all.iter().filter(|a| a.person.as_ref().is_some_and(|person| person.subject == "ann"));
    let made_by: Vec<_> = of_ann.map(|a| a.made_by.is_some()).collect();
    assert_eq!((made_by.len(), made_by.iter().filter(|by_token| **by_token).count()), (2, 1));
}

async fn what_a_token_made_ends_with_it_where_that_is_asked_for(world: World) {
    let store = world.store().await;
    let root = make(&store, &caller(Role::Administrator)).await;
    let first = make(&store, &who(&store, &root).await.unwrap()).await;
    let second = make(&store, &who(&store, &first).await.unwrap()).await;
    let revoke = async |id: &str, all| store.revoke_administrator(id.to_owned(), all, action("/v1/x")).await;
    // The replacement of a token is made with that token, and stays.
    revoke(root.id(), false).await.unwrap();
    assert!(who(&store, &first).await.is_some());
    // With all that it made, nobody would be left.
    assert_eq!(refused(revoke(root.id(), true).await), Refused::AdministratorLast);
    assert!(who(&store, &second).await.is_some(), "nothing is half done");
    let other = make(&store, &caller(Role::Administrator)).await;
    let (_, mut made) = revoke(root.id(), true).await.unwrap();
    made.sort();
    let mut wanted = [first.id().to_owned(), second.id().to_owned()];
    wanted.sort();
    assert_eq!(made, wanted);
    assert_eq!((who(&store, &first).await, who(&store, &second).await), (None, None));
    assert!(who(&store, &other).await.is_some());
}

async fn a_tenants_own_administrators_make_so_much_and_no_more(world: World) {
    let store = world.store().await;
    let two =
        TenantLimits { clusters: 2, api_keys: 2, service_clients: 2, administrators: 2, revocations: 2 };
    store.limit_tenants(two);
    let acme = Role::TenantAdmin("acme".parse().unwrap());
    let make = async |what: Made, n: u32, role: &Role| {
        let by = action_of(role.clone(), "/v1/things");
        match what {
            Made::Clusters => {
                store.register_cluster(new_cluster(&format!("c-{n}"), "acme"), by).await.map(|made| made.2)
            }
            Made::ApiKeys => store.create_api_key(new_key("acme"), &[7; 32], by).await.map(|made| made.2),
            Made::ServiceClients => {
                let client = NewServiceClient {
                    id: format!("svc-{n}").parse().unwrap(),
                    tenant: "acme".parse().unwrap(),
                    roles: Vec::new(),
                    scopes: Vec::new(),
                    audiences: Vec::new(),
                    may_exchange: false,
                    lifetime_s: 60,
                };
                store.create_service_client(client, by).await.map(|_| 0)
            }
            Made::Administrators => {
                store.create_administrator(acme.clone(), None, caller(role.clone()), by).await.map(|_| 0)
            }
            Made::Revocations => {
                let name = format!("user:acme - u{n}");
                store.add_revocation(name, String::new(), None, by).await.map(|made| made.1)
            }
        }
    };
    for what in Made::ALL {
        for n in 0..2 {
            make(*what, n, &acme).await.unwrap();
        }
        let limit = Refused::LimitReached { what: *what, limit: 2 };
        assert_eq!(refused(make(*what, 2, &acme).await), limit);
        // What the platform makes for the tenant is not bound.
        make(*what, 3, &Role::Administrator).await.unwrap();
        assert_eq!(refused(make(*what, 4, &acme).await), limit);
        assert!(limit.to_string().contains(&["tenantLimits.", what.as_str()].concat()), "{limit}");
    }
    // What ends makes no room on the day on which it was made: by turns somebody would fill the database.
    let by = action_of(acme.clone(), "/v1/things");
    let key = store.api_keys(acme.reach(), None, String::new(), 1).await.unwrap().items.remove(0);
    store.revoke_api_key(key.id, by.clone()).await.unwrap();
    assert!(make(Made::ApiKeys, 5, &acme).await.is_err());
    // A key is replaced beyond the limit, too: it may have leaked. Its replacement of the same day is not.
    let key = store.api_keys(acme.reach(), None, String::new(), 9).await.unwrap().items;
    let key = key.into_iter().find(|key| key.revoked_at_ms.is_none()).unwrap();
    let how = KeyRotation { overlap_s: 0, expires_at_s: None };
    let new = store.rotate_api_key(key.id, how, &[7; 32], by.clone()).await.unwrap().new;
    let again = store.rotate_api_key(new.id, how, &[7; 32], by).await;
    assert_eq!(refused(again), Refused::LimitReached { what: Made::ApiKeys, limit: 2 });
    // Revocations that the platform made take no place of the tenant's, which can take back its own to make others.
    let none = action_of(Role::Administrator, "/v1/revocations");
    store.add_revocation("user:acme - p1".into(), String::new(), None, none.clone()).await.unwrap();
    for name in ["user:acme - u0", "user:acme - u1"] {
        let by = action_of(acme.clone(), "/v1/revocations");
        store.remove_revocation(name.into(), by).await.unwrap();
    }
    for n in 10..12 {
        make(Made::Revocations, n, &acme).await.unwrap();
    }
    assert!(make(Made::Revocations, 12, &acme).await.is_err());
    // Another tenant has its own.
    let globex = action_of(Role::TenantAdmin("globex".parse().unwrap()), "/v1/things");
    store.register_cluster(new_cluster("g-1", "globex"), globex).await.unwrap();
}
