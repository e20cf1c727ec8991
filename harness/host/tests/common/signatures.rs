//! Signatures for the foreign function `verify_signature`, and its arguments as scripts write them.

use serde::Deserialize;

/// A good signature. `tests/data/README.md` says where each comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signed {
    pub(crate) name: String,
    pub(crate) hash: String,
    /// A SubjectPublicKeyInfo in DER.
    #[serde(deserialize_with = "hex")]
    pub(crate) key: Vec<u8>,
    /// Of an elliptic curve: in DER.
    #[serde(deserialize_with = "hex")]
    pub(crate) signature: Vec<u8>,
    pub(crate) text: String,
}

fn hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(serde::de::Error::custom);
    (0..text.len()).step_by(2).map(byte).collect()
}

pub(crate) fn all() -> Vec<Signed> {
    serde_json::from_str(include_str!("../data/signatures.json")).expect("the vectors")
}

/// Of kinds that Envoy or this host does not verify.
pub(crate) fn unknown() -> Vec<Signed> {
    serde_json::from_str(include_str!("../data/signatures-unknown.json")).expect("the vectors")
}

pub(crate) fn named(name: &str) -> Signed {
    all().into_iter().chain(unknown()).find(|signed| signed.name == name).expect("a vector")
}

impl Signed {
    /// The call of `verify_signature`, for a script.
    pub(crate) fn call(&self) -> String {
        #[derive(prost::Message)]
        struct Arguments {
            #[prost(string, tag = "1")]
            hash: String,
            #[prost(bytes = "vec", tag = "2")]
            key: Vec<u8>,
            #[prost(bytes = "vec", tag = "3")]
            signature: Vec<u8>,
            #[prost(string, tag = "4")]
            text: String,
        }
        let Self { hash, key, signature, text, .. } = self.clone();
        let bytes = prost::Message::encode_to_vec(&Arguments { hash, key, signature, text });
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        format!("foreign verify_signature {escaped}")
    }

    pub(crate) fn text(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }

    pub(crate) fn hash(self, hash: &str) -> Self {
        Self { hash: hash.to_owned(), ..self }
    }

    /// With one bit of the signature turned over.
    pub(crate) fn spoilt(mut self) -> Self {
        let middle = self.signature.len() / 2;
        self.signature[middle] ^= 1;
        self
    }
}
