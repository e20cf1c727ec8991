//! What records are told apart by, and queries ask for.

use crate::text_enum::text_enum;

text_enum!(
    /// What was decided about a request.
    DecisionName {
        /// Let through.
        Allow = "allow",
        /// Refused.
        Refuse = "refuse",
        /// Let through, or answered by the filter, without an identity.
        Exempt = "exempt",
        /// Let through to a host of the platform itself, where whom it is for judges its credential.
        Platform = "platform",
        /// Nothing: an earlier filter ended it.
        None = "none",
        /// Let through, and still under way.
        Open = "open",
        /// Ended before it ended by itself.
        End = "end",
    }
);

text_enum!(
    /// Where a record was made.
    Hop {
        /// A gateway, by all stages.
        Gateway = "gateway",
        /// A filter that authenticates alone.
        Authn = "authn",
        /// A filter that looks at the source type alone.
        SourceType = "source-type",
        /// A filter that looks at the cluster alone.
        ClusterStatus = "cluster-status",
        /// A filter that records alone.
        Audit = "audit",
        /// The sidecar of a data cluster, whatever runs there.
        Sidecar = "sidecar",
        /// The control service.
        Control = "control",
    }
);

#[cfg(test)]
mod tests {
    use portcullis_model::{Decision, Reason, Refusal};

    use super::*;

    #[test]
    fn every_decision_of_a_filter_can_be_asked_for() {
        let refusal = || Refusal::new("authn", Reason::ClusterUnknown);
        let all = [
            Decision::None,
            Decision::Allow,
            Decision::Exempt,
            Decision::Platform,
            Decision::Refuse(refusal()),
            Decision::End(refusal()),
        ];
        for decision in all {
            assert!(decision.as_str().parse::<DecisionName>().is_ok(), "{decision:?}");
        }
    }
}
