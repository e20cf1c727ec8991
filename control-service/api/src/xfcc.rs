//! `x-forwarded-client-cert`: who the mutual-TLS peer of the service's own sidecar was.
//!
//! Envoy appends one element for each hop; only the last one was written by our own sidecar, so only
//! that one is believed. Everything unexpected is refused: a value that is read wrongly is an identity
//! given away.

use portcullis_identity::ids::SpiffeId;

/// Why no principal can be taken from the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XfccError {
    /// The header is not there, or there more than once.
    #[error(
        "x-forwarded-client-cert must be there exactly once: calls reach the mesh API through its sidecar"
    )]
    NotOnce,
    /// The header does not follow Envoy's grammar.
    #[error("x-forwarded-client-cert cannot be read")]
    Malformed,
    /// The last element does not name exactly one URI.
    #[error("the last element of x-forwarded-client-cert must name exactly one URI, a SPIFFE id")]
    NotOneUri,
}

/// The SPIFFE id of the last element.
///
/// # Errors
/// [`XfccError`] when the value is not exactly what a sidecar writes.
pub fn principal(value: &[u8]) -> Result<SpiffeId, XfccError> {
    let text = std::str::from_utf8(value).map_err(|_| XfccError::Malformed)?;
    let elements = split(text, ',')?;
    let last = elements.last().ok_or(XfccError::Malformed)?;
    let mut found = None;
    for pair in split(last, ';')? {
        let (key, value) = pair.split_once('=').ok_or(XfccError::Malformed)?;
        if key.trim().eq_ignore_ascii_case("uri") {
            let id = SpiffeId::new(unquote(value)).map_err(|_| XfccError::NotOneUri)?;
            if found.replace(id).is_some() {
                return Err(XfccError::NotOneUri);
            }
        }
    }
    found.ok_or(XfccError::NotOneUri)
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
}

/// Where in an element a character stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Key,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    /// Behind the closing quote.
    Ended,
}

impl Place {
    /// What follows on a character. A value is quoted as a whole or not at all: a quote anywhere but at its start and its
    /// end was not written by a sidecar.
    fn after(self, c: char) -> Result<Self, XfccError> {
        match (self, c) {
            (Self::Escaped, _) => Ok(Self::Quoted),
            (Self::Quoted, '\\') => Ok(Self::Escaped),
            (Self::Quoted, '"') => Ok(Self::Ended),
            (Self::Quoted, _) | (Self::ValueStart, '"') => Ok(Self::Quoted),
            (_, ',' | ';') => Ok(Self::Key),
            (Self::Ended, _) | (_, '"') => Err(XfccError::Malformed),
            (Self::Key, '=') => Ok(Self::ValueStart),
            (Self::Key, _) => Ok(Self::Key),
            (Self::ValueStart | Self::Value, _) => Ok(Self::Value),
        }
    }
}

/// Splits at a separator outside of double quotes; `\` escapes within them.
fn split(text: &str, separator: char) -> Result<Vec<&str>, XfccError> {
    let (mut parts, mut start, mut place) = (Vec::new(), 0, Place::Key);
    for (at, c) in text.char_indices() {
        place = place.after(c)?;
        if c == separator && place == Place::Key {
            parts.push(text.get(start..at).unwrap_or_default());
            start = at + c.len_utf8();
        }
    }
    if matches!(place, Place::Quoted | Place::Escaped) {
        return Err(XfccError::Malformed);
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/ingressgateway";

    fn read(text: &str) -> Result<String, XfccError> {
        principal(text.as_bytes()).map(|id| id.to_string())
    }

    #[test]
    fn the_uri_of_the_last_element_counts() {
        let own = ["By=spiffe://cluster.local/ns/p/sa/c;Hash=ab;Subject=\"\";URI=", GATEWAY].concat();
        assert_eq!(read(&own).unwrap(), GATEWAY);
        let chain = ["Hash=1;URI=spiffe://cluster.local/ns/evil/sa/evil,", &own].concat();
        assert_eq!(read(&chain).unwrap(), GATEWAY);
        let reverse = [&own, ",Hash=1;URI=spiffe://cluster.local/ns/evil/sa/evil"].concat();
        assert_eq!(read(&reverse).unwrap(), "spiffe://cluster.local/ns/evil/sa/evil");
    }

    #[test]
    fn separators_within_quotes_are_text() {
        let tricky = ["URI=", GATEWAY, ";Subject=\"CN=a,URI=spiffe://x/y;b=\\\",c\""].concat();
        assert_eq!(read(&tricky).unwrap(), GATEWAY);
    }

    #[test]
    fn everything_unexpected_is_refused() {
        let two = ["URI=", GATEWAY, ";URI=", GATEWAY].concat();
        let last_without = ["URI=", GATEWAY, ",Hash=1;Subject=\"\""].concat();
        for bad in
            ["", "URI=", "Hash=1", "URI=http://a/b", "URI", "Subject=\"open;URI=x", &two, &last_without]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(principal(b"URI=\xff").is_err());
        // A quote within a value could hide the separator behind it, or show one that there is not.
        for start in [
            "Hash=a\"b,c\";",
            "Hash=\"a\"b;",
            "\"Hash=1\";",
            "Hash=a\";Subject=\"x\";",
            "Subject=CN=\"a,b\";",
        ] {
            let odd = [start, "URI=", GATEWAY].concat();
            assert!(read(&odd).is_err(), "{odd}");
        }
        let quoted = ["Hash=1;URI=\"", GATEWAY, "\""].concat();
        assert_eq!(read(&quoted).unwrap(), GATEWAY);
    }
}
