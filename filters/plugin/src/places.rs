//! Tokens that are read from other places than `Authorization`, where the configuration names some.

use std::borrow::Cow;

use portcullis_authn::places::{cookie_values, percent_decoded, query_values, without_cookie, without_query};
use portcullis_authn::{Place, Presented};
use portcullis_host::{Host, HostResult, MapType, Pairs};
use portcullis_model::edge::{TokenHeader, TokenPlaces};

const MAP: MapType = MapType::HttpRequestHeaders;

/// The tokens in the query, decoded; one that cannot be is empty, which is malformed.
pub(crate) fn in_query<'a>(path: &'a [u8], places: &TokenPlaces) -> Vec<Cow<'a, [u8]>> {
    let Some(parameter) = &places.query else { return Vec::new() };
    query_values(path, parameter).map(|value| percent_decoded(value).unwrap_or_default()).collect()
}

/// Takes note of every token in these places; `in_query` are those in the query.
pub(crate) fn collect<'a>(
    pairs: &'a Pairs,
    in_query: &'a [Cow<'a, [u8]>],
    places: &TokenPlaces,
    presented: &mut Presented<'a>,
) {
    let mut cookies = 0_u32;
    for (name, value) in pairs {
        if let Some(header) = places.headers.iter().find(|header| header.name.as_bytes() == name) {
            presented.elsewhere(Place::Header(name), without_prefix(value, header));
        }
        if let (b"cookie", Some(cookie)) = (name, &places.cookie) {
            cookies = cookies.saturating_add(1);
            cookie_values(value, cookie).for_each(|token| presented.elsewhere(Place::Cookie(value), token));
        }
    }
    // Envoy's codecs join cookies. Should there be two headers all the same, taking a cookie out of one
    // would lose the other.
    if let (2.., Some(place @ Place::Cookie(_))) = (cookies, presented.place()) {
        presented.elsewhere(place, b"");
    }
    in_query.iter().for_each(|token| presented.elsewhere(Place::Query, token));
}

/// What follows the prefix; nothing, which is malformed, when it is not there.
fn without_prefix<'a>(value: &'a [u8], header: &TokenHeader) -> &'a [u8] {
    match value.split_at_checked(header.prefix.len()) {
        Some((prefix, token)) if prefix.eq_ignore_ascii_case(header.prefix.as_bytes()) => token.trim_ascii(),
        _ => b"",
    }
}

/// Removes the token from its place and leaves everything else as it is.
///
/// # Errors
/// When the proxy fails; the request must be refused then.
pub(crate) fn strip(host: &dyn Host, place: Place<'_>, path: &[u8], places: &TokenPlaces) -> HostResult<()> {
    match (place, &places.cookie, &places.query) {
        (Place::Header(name), ..) => host.remove_header(MAP, name),
        (Place::Cookie(value), Some(cookie), _) => match without_cookie(value, cookie) {
            Some(rest) => host.replace_header(MAP, "cookie", &rest),
            None => host.remove_header(MAP, b"cookie"),
        },
        (Place::Query, _, Some(parameter)) => {
            host.replace_header(MAP, ":path", &without_query(path, parameter))
        }
        (Place::Cookie(_) | Place::Query, ..) => Ok(()),
    }
}
