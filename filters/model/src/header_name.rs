//! Names of headers that a configuration may choose for a credential: those that mean nothing yet.

/// Headers that mean something already to HTTP, to a proxy or to the filter itself.
pub const TAKEN: [&str; 33] = [
    "accept",
    "authorization",
    "b3",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "origin",
    "range",
    "referer",
    "server",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
    "x-target-cluster",
];

/// The beginnings of others. What Envoy says of a request it also believes at the next hop.
pub const TAKEN_PREFIXES: [&str; 10] = [
    "access-control-",
    "grpc-",
    "mcp-",
    "proxy-",
    "sec-",
    "x-b3-",
    "x-envoy-",
    "x-forwarded-",
    "x-istio-",
    "x-portcullis-",
];

/// A header name: letters, digits and `-`.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// True for the name, lower case, of a header that means something already. A credential there would be read as that by
/// a proxy, or what a proxy writes there would be read as a credential.
#[must_use]
pub fn is_taken(name: &str) -> bool {
    TAKEN.contains(&name) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_are_known() {
        for name in
            ["cookie", "host", "te", "x-forwarded-for", "x-portcullis-a", "sec-fetch-site", "x-envoy-a"]
        {
            assert!(is_header_name(name) && is_taken(name), "{name}");
        }
        for name in ["x-api-key", "x-key", "api-key", "x-goog-iap-jwt-assertion", "cf-access-jwt-assertion"] {
            assert!(is_header_name(name) && !is_taken(name), "{name}");
        }
    }
}
