//! Join tokens, certificates and their authority.

use portcullis_control_domain::Refused;
use portcullis_control_domain::caller::{Reach, Role};
use portcullis_control_domain::cluster::Administer;
use portcullis_control_domain::enrolment::{
    Asked, AskedBy, Issue, JoinSecret, MAX_CERTIFICATES_KEPT, RootPin, SignedCertificate, StoredAuthority,
};
use portcullis_control_store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::on_both;
use crate::world::{World, action, action_of, new_cluster, refused};

on_both! {
    a_join_token_is_good_for_one_certificate_of_one_key,
    a_certificate_is_good_until_it_is_revoked_or_its_cluster_retired,
    a_cluster_that_renews_again_and_again_is_held_up,
    the_authority_is_made_once_and_opens_after_a_restart,
    what_is_beyond_somebodys_reach_is_not_there_to_be_enrolled,
}

const FAR_MS: u64 = 32_000_000_000_000;

fn signed(serial: &str, key: u8) -> SignedCertificate {
    SignedCertificate {
        serial: serial.to_owned(),
        key_digest: [key; 32],
        not_after_ms: FAR_MS,
        renew_after_ms: FAR_MS / 2,
        chain: ["chain of ", serial].concat(),
    }
}

/// A join token of a cluster.
async fn token(store: &Store, cluster: &str) -> AskedBy {
    let secret = JoinSecret::generate(RootPin::of_spki(b"root"));
    let made =
        store.create_join_token(cluster.parse().unwrap(), &secret, 60, action("/v1/clusters/a/join-tokens"));
    assert_eq!(made.await.unwrap().id, secret.id());
    AskedBy::JoinToken { id: secret.id().to_owned(), digest: secret.digest() }
}

async fn issue(store: &Store, by: &AskedBy, serial: &str, key: u8) -> Result<Issue, StoreError> {
    store.issue_certificate(by.clone(), signed(serial, key), action("/v1/agent/join")).await
}

async fn with_cluster(world: &World) -> Store {
    let store = world.store().await;
    store.register_cluster(new_cluster("a", "acme"), action("/v1/clusters")).await.unwrap();
    store
}

async fn a_join_token_is_good_for_one_certificate_of_one_key(world: World) {
    let store = with_cluster(&world).await;
    let by = token(&store, "a").await;
    let asked = store.may_have_certificate(by.clone(), [1; 32]).await.unwrap();
    assert_eq!(asked, Asked::May("a".parse().unwrap(), "acme".parse().unwrap()));
    let first = issue(&store, &by, "01", 1).await.unwrap();
    assert_eq!((first.certificate.issued_by.as_str(), first.chain.as_str()), (by.id(), "chain of 01"));
    // What was signed meanwhile for the same key is forgotten: the first one stands.
    assert_eq!(issue(&store, &by, "02", 1).await.unwrap(), first);
    assert_eq!(refused(issue(&store, &by, "03", 2).await), Refused::JoinTokenUsed);
    store.close().await;
    let store = world.store().await;
    let asked = store.may_have_certificate(by.clone(), [1; 32]).await.unwrap();
    assert_eq!(asked, Asked::Again(Box::new(first)), "over a restart, too");
    let list = store.certificates(Reach::Platform, "a".parse().unwrap(), String::new(), 10).await.unwrap();
    assert_eq!(list.items.len(), 1);
    // Another secret behind the same id is nobody's.
    let AskedBy::JoinToken { id, .. } = by else { unreachable!() };
    let forged = AskedBy::JoinToken { id, digest: [9; 32] };
    assert_eq!(refused(store.may_have_certificate(forged, [1; 32]).await), Refused::JoinTokenUnknown);
    let ended = token(&store, "a").await;
    store.revoke_join_token(ended.id().to_owned(), action("/v1/join-tokens/x")).await.unwrap();
    assert_eq!(refused(issue(&store, &ended, "04", 1).await), Refused::JoinTokenEnded);
}

async fn a_certificate_is_good_until_it_is_revoked_or_its_cluster_retired(world: World) {
    let store = with_cluster(&world).await;
    issue(&store, &token(&store, "a").await, "01", 1).await.unwrap();
    let holder = async |serial: &str, key| store.holder_of_certificate(serial.to_owned(), [key; 32]).await;
    assert_eq!(holder("01", 1).await.unwrap().id.as_str(), "a");
    assert_eq!(refused(holder("01", 2).await), Refused::CertificateUnknown, "the key is another one");
    assert_eq!(refused(holder("02", 1).await), Refused::CertificateUnknown);
    let renewal = AskedBy::Certificate { serial: "01".to_owned() };
    let renewed = issue(&store, &renewal, "02", 2).await.unwrap();
    assert_eq!(renewed.certificate.issued_by, "01");
    assert_eq!(holder("01", 1).await.unwrap().id, holder("02", 2).await.unwrap().id);
    let revoke = async |serial: Option<&str>| {
        let (id, serial) = ("a".parse().unwrap(), serial.map(str::to_owned));
        store.revoke_certificates(id, serial, action("/v1/clusters/a/certificates/revoke")).await
    };
    assert_eq!(refused(revoke(Some("03")).await), Refused::CertificateUnknown);
    assert_eq!(revoke(Some("01")).await.unwrap().len(), 1);
    assert_eq!(revoke(Some("01")).await.unwrap().len(), 0, "doing so again changes nothing");
    assert_eq!(refused(holder("01", 1).await), Refused::CertificateRevoked);
    assert_eq!(refused(issue(&store, &renewal, "04", 4).await), Refused::CertificateRevoked);
    assert_eq!(holder("02", 2).await.unwrap().id.as_str(), "a");
    let revoked = store.revoked_certificates().await.unwrap();
    assert_eq!(revoked.iter().map(|one| one.serial.as_str()).collect::<Vec<_>>(), ["01"]);
    let waiting = token(&store, "a").await;
    store
        .administer_cluster("a".parse().unwrap(), Administer::Retire, action("/v1/clusters/a"))
        .await
        .unwrap();
    assert_eq!(refused(holder("02", 2).await), Refused::CertificateRevoked);
    assert_eq!(refused(issue(&store, &waiting, "05", 5).await), Refused::ClusterRetired);
    let tokens = store.join_tokens(Reach::Platform, "a".parse().unwrap(), String::new(), 10).await.unwrap();
    assert!(tokens.items.iter().all(|one| one.used_at_ms.is_some() || one.revoked_at_ms.is_some()));
}

async fn a_cluster_that_renews_again_and_again_is_held_up(world: World) {
    let store = with_cluster(&world).await;
    issue(&store, &token(&store, "a").await, "0000", 0).await.unwrap();
    for n in 1..MAX_CERTIFICATES_KEPT {
        let by = AskedBy::Certificate { serial: format!("{:04}", n - 1) };
        issue(&store, &by, &format!("{n:04}"), u8::try_from(n % 251).unwrap()).await.unwrap();
    }
    let by = AskedBy::Certificate { serial: "0000".to_owned() };
    assert_eq!(refused(issue(&store, &by, "9999", 255).await), Refused::CertificatesMany);
    // A new join token helps whoever has the cluster.
    issue(&store, &token(&store, "a").await, "9999", 255).await.unwrap();
}

async fn the_authority_is_made_once_and_opens_after_a_restart(world: World) {
    let offered = |id: &str| StoredAuthority {
        id: id.to_owned(),
        certificate: vec![1, 2, 3],
        key: Zeroizing::new(b"a private key of the authority".to_vec()),
        created_at_ms: 5,
    };
    let store = world.store().await;
    let made = store.authority(offered("0a")).await.unwrap();
    assert_eq!(made, offered("0a"));
    assert_eq!(store.authority(offered("0b")).await.unwrap(), made);
    store.close().await;
    let store = world.store().await;
    assert_eq!(store.authority(offered("0c")).await.unwrap(), made);
    assert!(!world.files().windows(9).any(|bytes| bytes == b"a private"), "its key is sealed");
}

async fn what_is_beyond_somebodys_reach_is_not_there_to_be_enrolled(world: World) {
    let store = with_cluster(&world).await;
    let by = token(&store, "a").await;
    issue(&store, &by, "01", 1).await.unwrap();
    let others = || Role::TenantAdmin("globex".parse().unwrap());
    let secret = JoinSecret::generate(RootPin::of_spki(b"root"));
    let id = || "a".parse().unwrap();
    let made = store.create_join_token(id(), &secret, 60, action_of(others(), "/v1/clusters/a/join-tokens"));
    assert_eq!(refused(made.await), Refused::ClusterUnknown);
    let revoked = store.revoke_join_token(by.id().to_owned(), action_of(others(), "/v1/join-tokens/x")).await;
    assert_eq!(refused(revoked), Refused::JoinTokenUnknown);
    let revoked =
        store.revoke_certificates(id(), None, action_of(others(), "/v1/clusters/a/certificates/revoke"));
    assert_eq!(refused(revoked.await), Refused::ClusterUnknown);
    let reach = Role::reach(&others());
    assert_eq!(
        refused(store.certificates(reach.clone(), id(), String::new(), 10).await),
        Refused::ClusterUnknown
    );
    assert_eq!(refused(store.join_tokens(reach, id(), String::new(), 10).await), Refused::ClusterUnknown);
}
