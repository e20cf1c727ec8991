//! Why a configuration cannot be used.

use std::path::PathBuf;

use portcullis_model::errors::FieldError;

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; {hint}", hint = to_read(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{path} is not YAML: {problem}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        problem: String,
    },
    /// The file says something that cannot be.
    #[error("{path} has {n} error(s):\n{list}", n = errors.len(), list = bullets(errors))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them.
        errors: Vec<FieldError>,
    },
    /// What of the file would be taken over does not go with what stays as it is until a restart.
    #[error("{path} does not go with what is in use until a restart; restart the service to use the file:\n{list}", list = bullets(errors))]
    Unfit {
        /// The file.
        path: PathBuf,
        /// All of what does not fit.
        errors: Vec<FieldError>,
    },
}

impl LoadError {
    /// The fields at fault; empty where the file could not be read at all.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        match self {
            Self::Invalid { errors, .. } | Self::Unfit { errors, .. } => {
                errors.iter().map(|error| error.field.clone()).collect()
            }
            Self::Unreadable { .. } | Self::NotYaml { .. } => Vec::new(),
        }
    }
}

fn to_read(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "let the user that this runs as read it",
        _ => "name the file with --config",
    }
}

fn bullets(errors: &[FieldError]) -> String {
    errors.iter().map(|e| format!("  - {e}")).collect::<Vec<_>>().join("\n")
}
