//! Where an image comes from: what its labels say, and the one time that it knows.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::document::{Labels, label};
use crate::error::ImageError;

/// Which source an image was built of.
#[derive(Debug, Clone)]
pub struct Origin {
    revision: String,
    seconds: u64,
    created: String,
}

impl Origin {
    /// A commit, and its time in seconds since 1970. The time of the build is nowhere: it would give each build a
    /// digest of its own.
    ///
    /// # Errors
    /// For a time that no calendar has.
    pub fn new(revision: impl Into<String>, seconds: i64) -> Result<Self, ImageError> {
        let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| ImageError::Time(seconds))?;
        let created = time.format(&Rfc3339).map_err(|_| ImageError::Time(seconds))?;
        let seconds = u64::try_from(seconds).map_err(|_| ImageError::Time(seconds))?;
        Ok(Self { revision: revision.into(), seconds, created })
    }

    /// The time that files have.
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The time that documents have.
    pub(crate) fn created(&self) -> &str {
        &self.created
    }

    /// The commit.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// The labels of an image.
    pub(crate) fn labels(&self, title: &str, description: &str) -> Labels {
        [
            (label::TITLE, title),
            (label::DESCRIPTION, description),
            (label::VERSION, env!("CARGO_PKG_VERSION")),
            (label::LICENSES, env!("CARGO_PKG_LICENSE")),
            (label::REVISION, &self.revision),
            (label::CREATED, &self.created),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
    }
}
