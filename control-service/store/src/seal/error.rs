//! Why a secret cannot be sealed or opened.

use portcullis_control_domain::sealing::SealingKeySource;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SealError {
    /// The keys cannot be had.
    #[error("the sealing key {from} cannot be used: {problem}")]
    Key {
        /// Where they come from.
        from: SealingKeySource,
        /// What is wrong and what to do. It has nothing of what was read.
        problem: String,
    },
    /// The ciphertext does not open.
    #[error(
        "the stored secret {name:?} does not open: the sealing key is not the one it was sealed with; have store.sealingKeyFile or \
         store.sealingKeyCommand give the key that belongs to this database: no backup holds it"
    )]
    DoesNotOpen {
        /// Which secret.
        name: String,
    },
}

impl SealError {
    pub(super) fn unusable(from: &SealingKeySource, problem: impl ToString) -> Self {
        Self::Key { from: from.clone(), problem: problem.to_string() }
    }
}
