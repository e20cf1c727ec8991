use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret that an answer shows, and no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShownOnce(Zeroizing<String>);

impl ShownOnce {
    /// The secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ShownOnce {
    fn from(secret: &str) -> Self {
        Self(Zeroizing::new(secret.to_owned()))
    }
}

impl fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownOnce")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_the_answer_and_in_no_log() {
        let secret = ShownOnce::from("hunter2");
        assert_eq!(serde_json::to_value(&secret).unwrap(), "hunter2");
        assert_eq!(format!("{secret:?}"), "ShownOnce");
    }
}
