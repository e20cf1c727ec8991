//! Tokens in other places than `Authorization`, where the configuration names some: reading them there, and taking
//! them out without touching the rest.

use std::borrow::Cow;

use portcullis_model::edge::{TokenHeader, TokenLocations};

/// The tokens in the query, decoded; one that cannot be is empty, which is malformed.
pub fn in_query<'a>(path: &'a [u8], locations: &TokenLocations) -> Vec<Cow<'a, [u8]>> {
    let Some(parameter) = &locations.query else { return Vec::new() };
    query_values(path, parameter).map(|value| percent_decoded(value).unwrap_or_default()).collect()
}

/// What follows the prefix; nothing, which is malformed, when it is not there.
pub(crate) fn without_prefix<'a>(value: &'a [u8], header: &TokenHeader) -> &'a [u8] {
    match value.split_at_checked(header.prefix.len()) {
        Some((prefix, token)) if prefix.eq_ignore_ascii_case(header.prefix.as_bytes()) => token.trim_ascii(),
        _ => b"",
    }
}

/// The values of a cookie in a `Cookie` header (RFC 6265 §5.4); spaces around names and values do not count.
pub fn cookie_values<'a>(header: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    header.split(|b| *b == b';').filter_map(move |pair| value_of(pair, b'=', name.as_bytes()))
}

/// The header without the cookie; `None` when nothing is left.
#[must_use]
pub fn without_cookie(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> =
        header.split(|b| *b == b';').filter(|pair| value_of(pair, b'=', name.as_bytes()).is_none()).collect();
    let rest = kept.join(&b';');
    // The space after the `;` that is gone.
    let rest = if header.starts_with(b" ") { rest.as_slice() } else { rest.trim_ascii_start() };
    (!rest.trim_ascii().is_empty()).then(|| rest.to_vec())
}

/// The name and the value around a separator; a pair without one is all name.
fn value_of<'a>(pair: &'a [u8], separator: u8, name: &[u8]) -> Option<&'a [u8]> {
    let at = pair.iter().position(|b| *b == separator).unwrap_or(pair.len());
    let (found, value) = pair.split_at_checked(at)?;
    (found.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// The values of a query parameter as they stand in a path. Its name is read as an upstream would read it:
/// percent-decoded.
pub fn query_values<'a>(path: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let (_, query, _) = split(path);
    query.split(|b| *b == b'&').filter_map(move |pair| parameter(pair, name.as_bytes()))
}

/// The path without the parameter; without the `?` too when it was the only one.
#[must_use]
pub fn without_query(path: &[u8], name: &str) -> Vec<u8> {
    let (before, query, fragment) = split(path);
    let kept: Vec<&[u8]> =
        query.split(|b| *b == b'&').filter(|pair| parameter(pair, name.as_bytes()).is_none()).collect();
    let mut out = before.to_vec();
    if !kept.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&kept.join(&b'&'));
    }
    out.extend_from_slice(fragment);
    out
}

/// What is before the `?`, the query, and the rest from `#` on.
fn split(path: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let hash = path.iter().position(|b| *b == b'#').unwrap_or(path.len());
    let (path, fragment) = path.split_at_checked(hash).unwrap_or((path, b""));
    let mark = path.iter().position(|b| *b == b'?').unwrap_or(path.len());
    let (before, query) = path.split_at_checked(mark).unwrap_or((path, b""));
    (before, query.get(1..).unwrap_or_default(), fragment)
}

fn parameter<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
    let (found, value) = pair.split_at_checked(at)?;
    decodes_to(found, name).then(|| value.get(1..).unwrap_or_default())
}

/// Whether a percent-encoded name stands for `name`.
fn decodes_to(encoded: &[u8], name: &[u8]) -> bool {
    let mut rest = encoded;
    let mut wanted = name.iter();
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, behind @ ..] if *first == b'%' => hex(*high, *low).map(|byte| (byte, behind)),
            _ => None,
        };
        let (byte, behind) = escaped.unwrap_or((*first, after));
        if wanted.next() != Some(&byte) {
            return false;
        }
        rest = behind;
    }
    wanted.next().is_none()
}

/// A value of the query without its percent-encoding (RFC 3986 §2.1); `None` when an escape is malformed. A
/// `+` stays a `+`: it stands for a space in forms only, and tokens may contain one (RFC 6750 §2.1).
#[must_use]
pub fn percent_decoded(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !value.contains(&b'%') {
        return Some(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        (rest, _) = match (*first, after) {
            (b'%', [high, low, behind @ ..]) => (behind, decoded.push(hex(*high, *low)?)),
            (b'%', _) => return None,
            (byte, _) => (after, decoded.push(byte)),
        };
    }
    Some(Cow::Owned(decoded))
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(high)? << 4) | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(header: &str) -> Vec<String> {
        cookie_values(header.as_bytes(), "t").map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        assert_eq!(cookies("a=1; t=x; b=2"), ["x"]);
        assert_eq!(cookies("t=x"), ["x"]);
        assert_eq!(cookies("a=1;t = x ;b"), ["x"]);
        assert_eq!(cookies("t=x; t=y"), ["x", "y"]);
        assert_eq!(cookies("t=x=y"), ["x=y"]);
        assert_eq!(cookies("t; t="), ["", ""]);
        assert_eq!(cookies("T=x; tt=x; at=x; a=t=x; =t"), Vec::<String>::new());
    }

    #[test]
    fn only_the_cookie_is_taken_out() {
        for (header, rest) in [
            ("a=1; t=x; b=2", Some("a=1; b=2")),
            ("t=x; a=1;b=\"q\"", Some("a=1;b=\"q\"")),
            ("a=1; t=x", Some("a=1")),
            ("a=1;t=x;;b", Some("a=1;;b")),
            ("t=x", None),
            (" t=x; ", None),
            ("a=t; b", Some("a=t; b")),
        ] {
            let kept = without_cookie(header.as_bytes(), "t");
            assert_eq!(kept.as_deref(), rest.map(str::as_bytes), "{header:?}");
        }
    }

    #[test]
    fn a_parameter_is_found_in_every_spelling_of_its_name() {
        let values = |path: &str| -> Vec<String> {
            let found = query_values(path.as_bytes(), "tok");
            found.map(|v| String::from_utf8_lossy(v).into_owned()).collect()
        };
        assert_eq!(values("/a?tok=x&b=1"), ["x"]);
        assert_eq!(values("/a?b&%74o%6B=x&tok"), ["x", ""]);
        assert_eq!(values("/a?b=1#?tok=x"), Vec::<String>::new());
        assert_eq!(values("/tok=x?Tok=1&token=2&to=3&%7=4&tok%00=5"), Vec::<String>::new());
    }

    #[test]
    fn a_value_is_decoded_and_a_plus_stays_a_plus() {
        for (value, decoded) in [
            ("a.b-c_d~e+f/g=", Some("a.b-c_d~e+f/g=")),
            ("a%2Eb%2ec%2B%2f", Some("a.b.c+/")),
            ("%25", Some("%")),
            ("%252E", Some("%2E")),
            ("a+b", Some("a+b")),
            ("", Some("")),
            ("%", None),
            ("a%2", None),
            ("a%2x", None),
            ("a%+1", None),
            ("a%%41", None),
            ("a%u0041", None),
        ] {
            let found = percent_decoded(value.as_bytes());
            assert_eq!(found.as_deref(), decoded.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn only_the_parameter_is_taken_out() {
        for (path, rest) in [
            ("/a?tok=x&b=%20&c", "/a?b=%20&c"),
            ("/a?b&tok=x", "/a?b"),
            ("/a?tok=x", "/a"),
            ("/a?tok=x#f", "/a#f"),
            ("/a?b&&%74ok=x&", "/a?b&&"),
            ("/a?tok=%78%2E&b=%2e", "/a?b=%2e"),
            ("/a?b=%zz&tok=%7&c", "/a?b=%zz&c"),
        ] {
            let kept = without_query(path.as_bytes(), "tok");
            assert_eq!(String::from_utf8_lossy(&kept), rest, "{path}");
        }
    }
}
