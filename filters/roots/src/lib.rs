//! The root ids of Portcullis: named lists of stages. Both targets offer these.
//!
//! A new stage is a crate of its own and a line here.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

use portcullis_audit::Audit;
use portcullis_authn::{Authenticate, Recognise};
use portcullis_cluster_status::ClusterStatus;
use portcullis_cors::Cors;
use portcullis_engine::{Root, Stage};
use portcullis_identity::{Principal, SourceType};
use portcullis_model::claims::Claims;
use portcullis_model::policy::SourceRulesDocument;
use portcullis_source_type::RequireSourceType;

/// Every root id there is. `gateway` is what runs at the ingress; the others are each usable alone.
pub const ROOTS: [Root; 5] = [
    Root { id: "gateway", whole: true, stages: gateway },
    Root {
        id: "authn",
        whole: false,
        stages: || vec![Box::new(Cors), Box::new(Authenticate::new(classify))],
    },
    Root {
        id: "source-type",
        whole: false,
        stages: || vec![Box::new(Recognise::new(classify)), Box::new(RequireSourceType)],
    },
    Root {
        id: "cluster-status",
        whole: false,
        stages: || vec![Box::new(Recognise::new(classify)), Box::new(ClusterStatus)],
    },
    Root { id: "audit", whole: false, stages: || vec![Box::new(Audit)] },
];

/// The root of an id; `None` for one that there is not. Ids are exact.
#[must_use]
pub fn root(id: &[u8]) -> Option<&'static Root> {
    const ALL: &[Root] = &ROOTS;
    ALL.iter().find(|root| root.id.as_bytes() == id)
}

fn gateway() -> Vec<Box<dyn Stage>> {
    vec![
        // Before anything is refused: whoever may read the refusal is said there.
        Box::new(Cors),
        Box::new(Audit),
        Box::new(Authenticate::new(classify)),
        Box::new(RequireSourceType),
        Box::new(ClusterStatus),
    ]
}

fn classify(rules: &SourceRulesDocument, principal: &Principal, claims: &Claims) -> Option<SourceType> {
    portcullis_source_type::classify(rules, principal, claims).map(|(source_type, _)| source_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_every_stage_and_root_are_counted_under_its_name() {
        for root in &ROOTS {
            for stage in (root.stages)() {
                let name = stage.name();
                assert!(portcullis_engine::metrics::knows_stage(name), "{name} is not in the closed list");
            }
            assert!(portcullis_engine::metrics::knows_stage(root.id), "{}", root.id);
        }
    }

    #[test]
    fn a_root_id_is_exact() {
        let stages = |id: &[u8]| {
            root(id).map(|root| (root.stages)().iter().map(|stage| stage.name()).collect::<Vec<_>>())
        };
        assert_eq!(stages(b"gateway").unwrap(), ["cors", "audit", "authn", "source-type", "cluster-status"]);
        assert_eq!(stages(b"audit").unwrap(), ["audit"]);
        for name in [&b""[..], b"Gateway", b"gateway ", b"other"] {
            assert!(root(name).is_none());
        }
    }
}
