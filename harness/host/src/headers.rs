//! A header map with Envoy's rules: lower-case names, pseudo headers first, order kept, and the names
//! that Envoy stores in one slot joined into one entry.

use std::fmt;

/// Names of which Envoy keeps one entry, in requests and in responses: a second value is appended to the
/// first. Which they are was found by asking Envoy (`tests/envoy/cases/headers.rs`).
const SINGLE_SLOT: &[&str] = &[
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// The same, in requests only.
const SINGLE_SLOT_OF_REQUESTS: &[&str] = &[
    ":authority",
    ":method",
    ":path",
    ":protocol",
    ":scheme",
    "accept",
    "accept-encoding",
    "authorization",
    "client-trace-id",
    "expect",
    "grpc-timeout",
    "origin",
    "referer",
    "te",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// The same, in responses only.
const SINGLE_SLOT_OF_RESPONSES: &[&str] = &[
    ":status",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "server",
    "vary",
];

/// Headers, trailers or metadata: ordered pairs of bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderMap {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl HeaderMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of entries; a name with two entries counts twice.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first value of `name` (any case), if it is UTF-8. Use [`get_bytes`](Self::get_bytes) for
    /// values that need not be.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of `name` (any case).
    pub fn get_bytes(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        self.entries.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// All values of `name` (any case), in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let matches = move |(n, _): &&(Vec<u8>, Vec<u8>)| n.eq_ignore_ascii_case(name.as_bytes());
        self.entries.iter().filter(matches).map(|(_, v)| v.as_slice())
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))
    }

    /// Adds an entry, keeping those of the same name. As in Envoy, pseudo headers stay in front, and a
    /// name that Envoy keeps in a single slot is joined to its first entry with a comma.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref().to_ascii_lowercase();
        let value = value.as_ref();
        if self.has_single_slot(&name)
            && let Some((_, present)) = self.entries.iter_mut().find(|(n, _)| *n == name)
        {
            if !present.is_empty() && !value.is_empty() {
                present.push(b',');
            }
            present.extend_from_slice(value);
            return;
        }
        let at = if name.starts_with(b":") {
            self.entries.iter().take_while(|(n, _)| n.starts_with(b":")).count()
        } else {
            self.entries.len()
        };
        self.entries.insert(at, (name, value.to_vec()));
    }

    fn has_single_slot(&self, name: &[u8]) -> bool {
        let listed = |list: &[&str]| list.binary_search_by(|slot| slot.as_bytes().cmp(name)).is_ok();
        let response = self.entries.first().is_some_and(|(first, _)| first == b":status");
        listed(SINGLE_SLOT)
            || listed(if response { SINGLE_SLOT_OF_RESPONSES } else { SINGLE_SLOT_OF_REQUESTS })
    }

    /// Replaces the first entry of `name` in its place and removes the others; adds it if absent.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref().to_ascii_lowercase();
        let Some(first) = self.entries.iter().position(|(n, _)| *n == name) else {
            return self.add(name, value);
        };
        let mut at = 0;
        self.entries.retain(|(n, _)| {
            at += 1;
            at - 1 <= first || *n != name
        });
        if let Some((_, present)) = self.entries.get_mut(first) {
            *present = value.as_ref().to_vec();
        }
    }

    /// Removes every entry of `name` (any case).
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        let name = name.as_ref();
        self.entries.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// Makes one entry of all cookies, at the end, as the codec of HTTP/2 does.
    pub(crate) fn join_cookies(&mut self) {
        let cookies: Vec<Vec<u8>> = self.get_all("cookie").map(<[u8]>::to_vec).collect();
        if !cookies.is_empty() {
            self.remove("cookie");
            self.add("cookie", cookies.join(&b"; "[..]));
        }
    }

    /// The bytes of all names and values, as `proxy_get_header_map_size` counts them.
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|(n, v)| n.len() + v.len()).sum()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (name, value) in entries {
            map.add(name, value);
        }
        map
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const L: usize> From<[(N, V); L]> for HeaderMap {
    fn from(entries: [(N, V); L]) -> Self {
        entries.into_iter().collect()
    }
}

impl fmt::Display for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.iter() {
            writeln!(f, "{}: {}", Printable(name), Printable(value))?;
        }
        Ok(())
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(n, v)| (Printable(n), Printable(v)))).finish()
    }
}

/// Bytes as readable text: UTF-8 as it is, other bytes and control characters as `\xNN`, long text cut.
pub(crate) struct Printable<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 512;
        let shown = self.0.get(..SHOWN).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if shown.len() < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_single_slots_are_sorted() {
        let lists = [SINGLE_SLOT, SINGLE_SLOT_OF_REQUESTS, SINGLE_SLOT_OF_RESPONSES];
        assert!(lists.iter().all(|list| list.is_sorted()));
    }

    #[test]
    fn pseudo_headers_stay_in_front() {
        let mut map = HeaderMap::from([(":method", "GET"), ("x-a", "1")]);
        map.add(":path", "/");
        let names: Vec<_> = map.iter().map(|(n, _)| n.to_vec()).collect();
        assert_eq!(names, [b":method".to_vec(), b":path".to_vec(), b"x-a".to_vec()]);
    }

    #[test]
    fn two_authorization_values_become_one_entry_and_two_of_another_name_stay_two() {
        let map = HeaderMap::from([("Authorization", "a"), ("authorization", "b"), ("x", "1"), ("X", "2")]);
        assert_eq!(map.get("authorization"), Some("a,b"));
        assert_eq!(map.get_all("x").count(), 2);
    }

    #[test]
    fn set_keeps_the_place_and_removes_the_others() {
        let mut map = HeaderMap::from([("a", "1"), ("b", "2"), ("a", "3")]);
        map.set("a", "9");
        assert_eq!(map, HeaderMap::from([("a", "9"), ("b", "2")]));
    }
}
