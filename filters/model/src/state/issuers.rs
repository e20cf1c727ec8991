//! Which issuer a token is of: by its `iss`, or as a JWT-SVID by the trust domain of its subject.
//!
//! What a token says only selects among what the operator configured.

use std::sync::Arc;

use portcullis_identity::ids::{IssuerId, SpiffeId};
use serde_json::Value;

use super::SnapshotState;
use crate::claims::Claims;
use crate::issuer::{IssuerNames, Named, trust_domain_name};
use crate::mapping::ClaimFault;
use crate::policy::IssuerDocument;

impl SnapshotState {
    /// An issuer by the exact name of its document. Which one a token is of tells [`TokenIssuer`].
    #[inline]
    #[must_use]
    pub fn issuer(&self, issuer: &str) -> Option<&Arc<IssuerDocument>> {
        self.issuers.get(issuer).map(|held| &held.document)
    }

    /// All issuers.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<IssuerDocument>> {
        self.issuers.values().map(|held| &held.document)
    }

    /// An issuer by the exact name of its document, with all its names.
    fn issuer_names(&self, issuer: &str) -> Option<(&Arc<IssuerDocument>, &IssuerNames)> {
        self.issuers.get(issuer).map(|held| (&held.document, &held.names))
    }

    /// All issuers with their names.
    fn all_issuer_names(&self) -> impl Iterator<Item = (&Arc<IssuerDocument>, &IssuerNames)> {
        self.issuers.values().map(|held| (&held.document, &held.names))
    }

    /// The issuer that identities name so: by its own name, or by one that its template makes.
    #[must_use]
    pub fn issuer_of_name(&self, name: &IssuerId) -> Option<&Arc<IssuerDocument>> {
        self.issuer_named(name.as_str()).map(|(document, _)| document)
    }

    /// Every name of the issuer that identities name so: those of its policy, or this one where there is none.
    #[must_use]
    pub fn names_of_issuer(&self, name: &IssuerId) -> Vec<IssuerId> {
        let document = self.issuer_of_name(name).map(|document| document.issuer.as_str());
        let names = document.and_then(|document| self.issuer_names(document));
        names.map_or_else(|| vec![name.clone()], |(_, names)| names.same_as(name.as_str()))
    }

    /// The one issuer that an `iss` names.
    fn issuer_named<'i>(&self, iss: &'i str) -> Option<(&Arc<IssuerDocument>, Named<'i>)> {
        let exact = self.issuer_names(iss).and_then(|(document, names)| Some((document, names.named(iss)?)));
        exact.or_else(|| {
            let all = self.all_issuer_names();
            let mut fitting = all.filter_map(|(document, names)| Some((document, names.named(iss)?)));
            fitting.next().filter(|_| fitting.next().is_none())
        })
    }
}

/// The issuer of a token, as far as the token says.
#[derive(Debug, Clone)]
pub struct TokenIssuer<'a> {
    /// Its policy.
    pub document: &'a Arc<IssuerDocument>,
    /// Its name.
    pub name: IssuerId,
    /// The claim that must have this value.
    bound: Option<(Box<str>, &'a str)>,
}

impl<'a> TokenIssuer<'a> {
    /// The issuer of a token; `None` when none is configured, or more than one.
    #[must_use]
    pub fn of(claims: &'a Claims, snapshot: &'a SnapshotState) -> Option<Self> {
        match claims.get("iss") {
            Some(Value::String(iss)) => {
                let (document, Named { name, bound }) = snapshot.issuer_named(iss)?;
                Some(Self { document, name, bound })
            }
            // A JWT-SVID has none: its trust domain is its issuer (JWT-SVID §3).
            None => {
                let subject = SpiffeId::new(claims.get("sub")?.as_str()?).ok()?;
                let document = snapshot.issuer(&trust_domain_name(&subject)).filter(|d| d.jwt_svid)?;
                Some(Self { document, name: document.issuer.clone(), bound: None })
            }
            Some(_) => None,
        }
    }

    /// Whether the token's claims belong to the issuer that it names.
    ///
    /// # Errors
    /// [`ClaimFault`] with the claim that does not.
    pub fn check(&self, claims: &Claims) -> Result<(), ClaimFault> {
        if let Some((claim, value)) = &self.bound
            && claims.get(&**claim).and_then(Value::as_str) != Some(value)
        {
            return Err(ClaimFault::of(claim));
        }
        if self.document.jwt_svid {
            let subject = claims.get("sub").and_then(Value::as_str).and_then(|sub| SpiffeId::new(sub).ok());
            let is_of = |id: &SpiffeId| trust_domain_name(id) == self.document.issuer.as_str();
            subject.as_ref().filter(|id| is_of(id)).ok_or_else(|| ClaimFault::of("sub"))?;
        }
        Ok(())
    }
}
