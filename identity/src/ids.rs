//! Names that were checked once and are types from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not valid: {rule}")]
pub struct InvalidId {
    /// What was being read, for example `cluster id`.
    pub what: &'static str,
    /// The text as found, cut to 80 characters.
    pub found: String,
    /// The rule that it breaks, in words that tell the operator what to write instead.
    pub rule: &'static str,
}

impl InvalidId {
    fn new(what: &'static str, found: &str, rule: &'static str) -> Self {
        Self { what, found: found.chars().take(80).collect(), rule }
    }
}

const DNS_LABEL: &str =
    "use 1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit";

/// True for a lower-case DNS label (RFC 1123): 1–63 bytes of `a-z0-9-`, no `-` at either end.
#[must_use]
pub fn is_dns_label(text: &[u8]) -> bool {
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (1..=63).contains(&text.len())
        && text.iter().all(inner)
        && text.first() != Some(&b'-')
        && text.last() != Some(&b'-')
}

/// True for 1–`max` bytes of visible ASCII.
fn is_visible(text: &[u8], max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// True for 1–`max` bytes of text in which every character is what it looks like: no control characters, line ends or
/// marks that turn the direction of what stands around them.
fn is_printable(text: &[u8], max: usize) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let readable = std::str::from_utf8(text).is_ok_and(|text| !text.chars().any(hidden));
    (1..=max).contains(&text.len()) && readable
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes over a text.
            ///
            /// # Errors
            /// [`InvalidId`] with the rule that the text breaks.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let check: fn(&[u8]) -> bool = $check;
                if check(text.as_bytes()) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId::new($what, text, $rule))
                }
            }

            /// The checked text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A data cluster. A DNS label, because it is part of a host name (`<cluster>.clusters.<domain>`),
    /// of a certificate's DNS SAN and of a tunnel's node id.
    ClusterId, "cluster id", DNS_LABEL, is_dns_label
);
text_id!(
    /// A tenant of the platform. A DNS label.
    TenantId, "tenant id", DNS_LABEL, is_dns_label
);
text_id!(
    /// The public name of a key or credential (a JWK's `kid`, an API key's id): what may stand in an
    /// audit record, and by which it is revoked. 1–255 bytes of printable text, since issuers choose it.
    KeyId, "key id", "use 1 to 255 bytes of printable text", |t| is_printable(t, 255)
);
text_id!(
    /// The subject of an identity (RFC 7519 §4.1.2 `sub`). 1–255 visible ASCII characters, because it
    /// travels in a header.
    Subject, "subject", "use 1 to 255 visible ASCII characters", |t| is_visible(t, 255)
);
text_id!(
    /// A role that a credential grants. 1–64 visible ASCII characters without a comma, because roles
    /// travel in one comma-separated header.
    Role, "role", "use 1 to 64 visible ASCII characters without a comma", |t| is_visible(t, 64) && !t.contains(&b',')
);
text_id!(
    /// An OAuth scope token (RFC 6749 §3.3). 1–128 visible ASCII characters without `"` and `\`.
    Scope, "scope", "use 1 to 128 visible ASCII characters without '\"' and '\\'",
    |t| is_visible(t, 128) && !t.iter().any(|b| matches!(b, b'"' | b'\\'))
);

impl Scope {
    /// Scopes as OAuth writes them (RFC 6749 §3.3).
    #[must_use]
    pub fn list<'a>(scopes: impl IntoIterator<Item = &'a Self>) -> String {
        scopes.into_iter().map(Self::as_str).collect::<Vec<_>>().join(" ")
    }
}

text_id!(
    /// An issuer identifier (RFC 7519 §4.1.1 `iss`). 1–255 visible ASCII characters.
    IssuerId, "issuer", "use 1 to 255 visible ASCII characters, usually an https URL", |t| is_visible(t, 255)
);
text_id!(
    /// An OAuth client identifier (RFC 6749 §2.2). 1–128 visible ASCII characters.
    ClientId, "client id", "use 1 to 128 visible ASCII characters", |t| is_visible(t, 128)
);

/// A SPIFFE ID: `spiffe://<trust domain>/<path>`, with no empty, `.` or `..` segment, at most 2048 bytes
/// (SPIFFE-ID standard §2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Box<str>);

impl SpiffeId {
    const RULE: &'static str =
        "write spiffe://<trust domain>/<segment>/…, without empty, '.' or '..' segments, at most 2048 bytes";

    /// Checks and takes over a SPIFFE ID.
    ///
    /// # Errors
    /// [`InvalidId`] when the text does not follow the standard.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId::new("SPIFFE id", text, Self::RULE);
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let (domain, path) = rest.split_once('/').ok_or_else(bad)?;
        let domain_ok = (1..=255).contains(&domain.len())
            && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        let segment_ok = |s: &str| {
            !s.is_empty()
                && s != "."
                && s != ".."
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if text.len() <= 2048 && domain_ok && path.split('/').all(segment_ok) {
            Ok(Self(text.into()))
        } else {
            Err(bad())
        }
    }

    /// The whole id, with its scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.0.get("spiffe://".len()..).and_then(|r| r.split('/').next()).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_dns_labels() {
        for good in ["a", "acme-1", "0", &"a".repeat(63)] {
            assert!(ClusterId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "ä", "a\0", &"a".repeat(64)] {
            assert!(ClusterId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_id_is_whatever_an_issuer_can_print() {
        for good in ["a", "my key, no. 2", "Schlüssel", "鍵", &"k".repeat(255), "{\"a\":1}"] {
            assert!(KeyId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "a\0", "\u{7f}", "a\u{202e}b", "\u{2028}", "\u{feff}k", &"k".repeat(256)] {
            assert!(KeyId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spiffe_ids_follow_the_standard() {
        assert_eq!(
            SpiffeId::new("spiffe://cluster.local/ns/a/sa/b").unwrap().trust_domain(),
            "cluster.local"
        );
        for bad in [
            "spiffe:///ns//sa/",
            "spiffe://d",
            "spiffe://d/",
            "spiffe://d/a//b",
            "spiffe://d/../b",
            "spiffe://D/a",
            "http://d/a",
            "spiffe://d/a?x",
            "spiffe://d:1/a",
        ] {
            assert!(SpiffeId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_names_the_rule() {
        let error = ClusterId::new("Bad_Name").unwrap_err().to_string();
        assert!(error.contains("cluster id") && error.contains("a-z"), "{error}");
    }
}
