//! Whose pages a CORS policy is about.

use serde::{Deserialize, Serialize};

/// A pattern that origins fit (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OriginPattern {
    /// `*`: every origin but `null`.
    Any,
    /// This origin, as browsers write it.
    Exact(String),
    /// `https://*.example.com`: every https origin with one label or more before this, which begins with a dot.
    Under(String),
}

const HTTPS: &str = "https://";

impl OriginPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{text:?} {what}"));
        if text == "*" {
            return Ok(Self::Any);
        }
        let lower = text.to_ascii_lowercase();
        let Some((scheme, host)) = lower.split_once("://") else {
            return wrong("is no origin; write https://app.example.com or https://*.example.com");
        };
        let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let bad_port = |port: &str| port.parse::<u16>().is_err() || port.starts_with(['0', '+']);
        if port.is_some_and(bad_port) {
            return wrong("has no port behind the colon");
        }
        let loopback = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        match (scheme, port) {
            ("https", Some("443")) | ("http", Some("80")) => {
                return wrong("names the scheme's own port, which browsers leave out; leave it out");
            }
            ("http", _) if loopback => return Ok(Self::Exact(lower)),
            ("https", _) => {}
            _ => return wrong("must begin with https://; only http://localhost may be without it"),
        }
        if let Some(suffix) = name.strip_prefix("*.") {
            if suffix.split('.').count() < 2 || !suffix.split('.').all(is_label) {
                return wrong("must have two labels or more behind *., as https://*.example.com");
            }
            let port = port.map(|port| [":", port].concat()).unwrap_or_default();
            return Ok(Self::Under([".", suffix, &port].concat()));
        }
        if !(loopback || name.split('.').all(is_label)) {
            return wrong(
                "is no origin: scheme, host and port, with no path behind, and * only as https://*.",
            );
        }
        Ok(Self::Exact(lower))
    }

    /// Whether an origin, as a browser sent it, fits.
    #[must_use]
    pub fn fits(&self, origin: &[u8]) -> bool {
        match self {
            // A page that hides its origin could be anybody's, a sandboxed one of ours too.
            Self::Any => origin != b"null",
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Under(suffix) => origin
                .strip_prefix(HTTPS.as_bytes())
                .and_then(|host| host.strip_suffix(suffix.as_bytes()))
                .and_then(|labels| std::str::from_utf8(labels).ok())
                .is_some_and(|labels| labels.split('.').all(is_label)),
        }
    }
}

/// One label of a host name, lower case as browsers write it.
fn is_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(plain)
}

impl TryFrom<String> for OriginPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> Self {
        match pattern {
            OriginPattern::Any => "*".to_owned(),
            OriginPattern::Exact(exact) => exact,
            OriginPattern::Under(suffix) => [HTTPS, "*", &suffix].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_written() {
        for (text, written) in [
            ("*", "*"),
            ("https://App.Example.com", "https://app.example.com"),
            ("https://a.test:8443", "https://a.test:8443"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            let read = OriginPattern::parse(text).unwrap();
            assert_eq!(String::from(read.clone()), written);
            assert_eq!(OriginPattern::parse(written), Ok(read));
        }
        for bad in [
            "null",
            "",
            "a.test",
            "http://a.test",
            "ftp://a.test",
            "https://",
            "https://a.test/",
            "https://a.test?x",
            "https://u@a.test",
            "https://a.test:443",
            "http://localhost:80",
            "https://*",
            "https://*.com",
            "https://*a.example.com",
            "https://a.*.example.com",
            "http://*.example.com",
            "https://*.",
            "https://a..test",
            "https://a.test:",
            "https://a.test:0",
            "https://a.test:99999",
            "https://a b.test",
            "https://*.example.com/",
            "https://\u{e9}.test",
        ] {
            assert!(OriginPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_suffix_ends_at_a_label_and_is_https() {
        let under = OriginPattern::parse("https://*.example.com").unwrap();
        for good in ["https://app.example.com", "https://a.b.example.com"] {
            assert!(under.fits(good.as_bytes()), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "null",
            "",
            "http://app.example.com",
            "https://app.example.com.evil.test",
            "https://app.example.com:8443",
            "https://evil.test/.example.com",
            "https://evil.test:1.example.com",
            "https://u@x.example.com",
            "https://a..example.com",
            "https://A.example.com",
            "HTTPS://app.example.com",
        ] {
            assert!(!under.fits(bad.as_bytes()), "{bad}");
        }
        let port = OriginPattern::parse("https://*.example.com:8443").unwrap();
        assert!(port.fits(b"https://a.example.com:8443") && !port.fits(b"https://a.example.com"));
        let exact = OriginPattern::parse("https://app.example.com").unwrap();
        for bad in [&b"null"[..], b"", b"https://app.example.com:8443", b"https://app.example.com."] {
            assert!(!exact.fits(bad), "{bad:?}");
        }
        assert!(OriginPattern::Any.fits(b"https://a.test") && !OriginPattern::Any.fits(b"null"));
        assert!(!OriginPattern::Under(".example.com".into()).fits(b"https://\xff.example.com"));
    }
}
