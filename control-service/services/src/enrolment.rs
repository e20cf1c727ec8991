//! Enrolment: data clusters get certificates, by a join token at first and by the certificate they have from then on; and
//! what is good of all that is known at every replica within a moment.

use std::sync::Arc;
use std::time::Duration;

use portcullis_control_config::Agents;
use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::clock::{millis, now_ms};
use portcullis_control_domain::cluster::Cluster;
use portcullis_control_domain::enrolment::{Asked, AskedBy, Issue, JoinSecret, RevokedCertificate, RootPin};
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_store::{Store, StoreError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::{Notify, watch};

use crate::authority::{
    Authority, AuthorityError, Order, OwnAuthority, Peer, Request, RequestError, ServerMaterial, pem,
};

/// How often it is looked at what was revoked: refusals in the handshake are to follow within a second.
const LOOK: Duration = Duration::from_millis(250);
/// When a list of what was revoked is signed anew although nothing has changed.
const SIGN_AGAIN: Duration = Duration::from_secs(3600);
/// When the listener's certificate is made anew.
const SERVE_AGAIN: Duration = Duration::from_secs(86_400);

/// What is good of the certificates of agents, and what proves the listener to them.
#[derive(Debug)]
pub struct Trust {
    /// The roots of agents' certificates, in DER.
    pub roots: Vec<Vec<u8>>,
    /// What was revoked (RFC 5280 §5), in DER.
    pub revocation_list: Vec<u8>,
    /// Grows with every change of it.
    pub number: u64,
    /// What the listener shows.
    pub server: ServerMaterial,
    /// The root that proves it.
    pub pin: RootPin,
    revoked: Vec<RevokedCertificate>,
    signed_at_ms: u64,
    served_at_ms: u64,
}

impl Trust {
    /// The roots, in PEM.
    #[must_use]
    pub fn roots_pem(&self) -> String {
        self.roots.iter().map(|root| pem("CERTIFICATE", root)).collect()
    }

    /// What was revoked, in PEM.
    #[must_use]
    pub fn revocation_list_pem(&self) -> String {
        pem("X509 CRL", &self.revocation_list)
    }
}

/// Why there is no certificate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnrolmentError {
    /// The request is not right.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority failed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Gives out certificates.
pub struct Enrolment {
    store: Store,
    authority: Box<dyn Authority>,
    agents: Agents,
    /// The roots of where tunnels end, in PEM.
    further: String,
    trust: watch::Sender<Arc<Trust>>,
    wake: Notify,
}

impl Enrolment {
    /// Loads the service's own authority, which is made when there is none.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub async fn new(store: Store, agents: Agents) -> Result<Self, EnrolmentError> {
        let stored = store.authority(OwnAuthority::make(now_ms())?).await?;
        let authority: Box<dyn Authority> = Box::new(OwnAuthority::of(&stored)?);
        let revoked = store.revoked_certificates().await?;
        let now_ms = now_ms();
        let (server, pin) = authority.server(&agents.server_names, now_ms)?;
        let trust = Trust {
            roots: authority.roots(),
            revocation_list: authority.revocation_list(&revoked, now_ms, now_ms)?,
            number: now_ms,
            server,
            pin,
            revoked,
            signed_at_ms: now_ms,
            served_at_ms: now_ms,
        };
        let trust = watch::Sender::new(Arc::new(trust));
        let further = agents.authorities.as_ref().map(|further| {
            let certificates = CertificateDer::pem_slice_iter(further.pem()).filter_map(Result::ok);
            certificates.map(|der| pem("CERTIFICATE", &der)).collect::<String>()
        });
        let further = further.unwrap_or_default();
        Ok(Self { store, authority, agents, further, trust, wake: Notify::new() })
    }

    /// What is good, and when that changes.
    #[must_use]
    pub fn trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust.subscribe()
    }

    /// What agents are given and told.
    #[must_use]
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// The roots that agents trust, in PEM: of their listener, and of where tunnels end.
    #[must_use]
    pub fn trust_bundle(&self) -> String {
        self.trust.borrow().roots_pem() + &self.further
    }

    /// A new join token, good for nothing before it is written down.
    #[must_use]
    pub fn join_secret(&self) -> JoinSecret {
        JoinSecret::generate(self.trust.borrow().pin)
    }

    /// Issues a certificate, or gives the one again that the same key got by the same thing a moment ago.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub async fn issue(
        &self,
        by: AskedBy,
        request: &Request,
        action: AuditEvent,
    ) -> Result<Issue, EnrolmentError> {
        self.store.check_fresh()?;
        let cluster = match self.store.may_have_certificate(by.clone(), request.key_digest()).await? {
            Asked::Again(issue) => return Ok(*issue),
            Asked::May(cluster, _) => cluster,
        };
        request.is_of(&cluster)?;
        let lifetime = self.agents.certificate_life;
        let order = Order { cluster: &cluster, request, lifetime, now_ms: now_ms() };
        let signed = self.authority.sign(&order)?;
        Ok(self.store.issue_certificate(by, signed, action).await?)
    }

    /// The cluster that a connection's certificate is good for at this moment.
    ///
    /// # Errors
    /// [`Refused::CertificateUnknown`], [`Refused::CertificateRevoked`], [`Refused::ClusterRetired`], or the store fails.
    pub async fn holder(&self, peer: &Peer) -> Result<Cluster, StoreError> {
        self.store.check_fresh()?;
        let cluster = self.store.holder_of_certificate(peer.serial.clone(), peer.key_digest).await?;
        if cluster.id.as_str() == peer.name { Ok(cluster) } else { Err(Refused::CertificateUnknown.into()) }
    }

    /// Has it be looked at once what was revoked: this replica knows that something was.
    pub fn look(&self) {
        self.wake.notify_one();
    }

    /// Keeps what is good up to date, until it is dropped.
    pub async fn keep(&self) {
        let mut outage = OutageLog::new(
            "it cannot be told which certificates were revoked",
            "it can be told again which certificates were revoked",
        );
        loop {
            match self.look_once().await {
                Ok(()) => outage.worked(),
                Err(error) => outage.failed(&error),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn look_once(&self) -> Result<(), EnrolmentError> {
        let revoked = self.store.revoked_certificates().await?;
        let now_ms = now_ms();
        let known = Arc::clone(&self.trust.borrow());
        let is_old = |since_ms: u64, after: Duration| now_ms.abs_diff(since_ms) >= millis(after);
        let serves_again = is_old(known.served_at_ms, SERVE_AGAIN);
        if revoked == known.revoked && !serves_again && !is_old(known.signed_at_ms, SIGN_AGAIN) {
            return Ok(());
        }
        let ((server, pin), served_at_ms) = match serves_again {
            true => (self.authority.server(&self.agents.server_names, now_ms)?, now_ms),
            false => ((known.server.clone(), known.pin), known.served_at_ms),
        };
        // It grows although the clock may be set back, and of two replicas the one that signs later has the greater one.
        let number = now_ms.max(known.number + 1);
        self.trust.send_replace(Arc::new(Trust {
            roots: self.authority.roots(),
            revocation_list: self.authority.revocation_list(&revoked, number, now_ms)?,
            number,
            server,
            pin,
            revoked,
            signed_at_ms: now_ms,
            served_at_ms,
        }));
        Ok(())
    }
}
