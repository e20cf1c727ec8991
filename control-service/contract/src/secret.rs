use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A secret that an answer shows, and no log.
#[derive(Clone, PartialEq, Eq)]
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

impl Serialize for ShownOnce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ShownOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|secret| Self(Zeroizing::new(secret)))
    }
}

impl JsonSchema for ShownOnce {
    fn schema_name() -> Cow<'static, str> {
        "ShownOnce".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A secret, shown this once."})
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
        let written = serde_json::to_value(&secret).unwrap();
        assert_eq!(written, "hunter2");
        assert_eq!(serde_json::from_value::<ShownOnce>(written).unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "ShownOnce");
    }
}
