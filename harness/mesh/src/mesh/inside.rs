//! What a client inside the mesh can do: come with a certificate of its own, and call a sidecar directly.

use portcullis_identity::HEADER;

use super::Mesh;
use crate::data_api::headers_seen;
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::overlay::Overlay;
use crate::pki::{Leaf, Workload};
use crate::sample::HOSTED;
use crate::tls::Tls;
use crate::wait::{self, Seen};

/// The folder of `overlays/local` that turns the filter at the sidecar of `acme-hosted` on.
const SIDECAR: &str = "sidecars/acme-hosted";

impl Mesh {
    /// TLS with a workload's certificate, as the workload or its sidecar would speak it.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn tls_of(&self, workload: Workload) -> Result<Tls> {
        Tls::new(&self.authority.root(), Some(&self.authority.workload(workload)?))
    }

    /// TLS with a certificate of the mesh for any SPIFFE id.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn tls_of_spiffe(&self, id: &str) -> Result<Tls> {
        Tls::new(&self.authority.root(), Some(&self.authority.spiffe(id)?))
    }

    /// The certificate of a workload, for a server that stands in for it.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn leaf_of(&self, workload: Workload) -> Result<Leaf> {
        self.authority.workload(workload)
    }

    /// TLS with a certificate that names a workload, but of an authority that the mesh does not trust.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn forged_tls_of(&self, workload: Workload) -> Result<Tls> {
        Tls::new(&self.authority.root(), Some(&self.tunnels.workload(workload)?))
    }

    /// TLS without a certificate.
    ///
    /// # Errors
    /// When the mesh's authority cannot be trusted.
    pub fn tls_of_nobody(&self) -> Result<Tls> {
        Tls::new(&self.authority.root(), None)
    }

    /// Turns the filter at the sidecar of `acme-hosted` on, and waits until it answers. Needs manifests of its
    /// own.
    ///
    /// # Errors
    /// As for [`Mesh::apply`], and when the filter does not answer.
    pub async fn guard_sidecar(&self) -> Result<()> {
        Overlay::local(self.manifests()).edit_list("resources", |files| files.push(SIDECAR.into()))?;
        self.apply().await?;
        // What it says without a token, once it has its snapshot.
        self.sidecar_says("the filter at the sidecar", |reason| reason == "identity_missing").await
    }

    /// Turns it off again, and waits until it is gone.
    ///
    /// # Errors
    /// As for [`Mesh::guard_sidecar`].
    pub async fn unguard_sidecar(&self) -> Result<()> {
        let overlay = Overlay::local(self.manifests());
        overlay.edit_list("resources", |files| files.retain(|name| *name != SIDECAR))?;
        self.apply().await?;
        self.sidecar_says("the sidecar without the filter", str::is_empty).await
    }

    /// Waits until the reason for which the sidecar refuses a request without a token is as wanted.
    async fn sidecar_says(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let request = self.at_sidecar()?;
        wait::in_a_row(what, &self.log(HOSTED), async || {
            let answer = request.send().await?;
            let wanted = wanted(answer.header("x-portcullis-reason"));
            Ok(if wanted { Seen::Done(()) } else { Seen::NotYet(answer.text()) })
        })
        .await
    }

    /// A GET at the sidecar of `acme-hosted`, with the certificate of the gateway, whom alone it lets in.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn at_sidecar(&self) -> Result<Request> {
        Ok(Request::get(self.plan().hosted_sidecar(), "/tables").over(&self.tls_of(self.options.ingress)?))
    }

    /// The identity token that the gateway forwards with this request, as the Data API got it.
    ///
    /// # Errors
    /// When the request is not let through.
    pub async fn identity_token(&self, request: &Request) -> Result<String> {
        let seen = request.send().await?;
        let token = headers_seen(&seen).into_iter().find(|(name, _)| name == HEADER);
        token.map(|(_, token)| token).ok_or_else(|| MeshError::Token {
            what: "an identity token".to_owned(),
            reason: format!("the answer was {}: {}", seen.status, seen.text()),
        })
    }
}
