//! Answers that the module gives itself.

use super::raw::{Callbacks, EnvoyBuffer, FilterPtr, ModuleBuffer, ModuleHeader};
use super::types::HeaderMap;

/// An answer in place of the upstream's.
///
/// To a gRPC request Envoy answers with HTTP 200 and the status in `grpc-status`; body and details
/// become its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u16,
    /// Headers beside `:status` and `content-length`.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Body.
    pub body: Vec<u8>,
    /// What access logs call the reason (`%RESPONSE_CODE_DETAILS%`).
    pub details: String,
    /// The status for a gRPC request; by default what HTTP's means in gRPC.
    pub grpc_status: Option<u32>,
}

impl LocalReply {
    /// What a stream gets whose filter has panicked.
    pub(super) fn panicked() -> Self {
        Self { status: 503, details: "portcullis_panic".to_owned(), ..Self::default() }
    }
}

/// Sends an answer. Envoy may end the stream within the call, so nothing of the filter may be
/// borrowed.
///
/// # Safety
/// `envoy` is a live filter of the Envoy that the callbacks belong to, on its worker's thread.
pub(super) unsafe fn send(calls: &Callbacks, envoy: FilterPtr, reply: &LocalReply) {
    // Envoy would tell a gRPC client 0, "OK", unless the reply says something else.
    let status = reply.grpc_status.unwrap_or_else(|| grpc_status(reply.status));
    // SAFETY: the caller's promise.
    let status = unsafe { is_grpc(calls, envoy) }.then(|| status.to_string());
    let given = reply.headers.iter().map(|(name, value)| ModuleHeader::new(name, value));
    let grpc = status.iter().map(|status| ModuleHeader::new(b"grpc-status", status.as_bytes()));
    let headers: Vec<ModuleHeader> = given.chain(grpc).collect();
    // SAFETY: the caller's promise; everything else points to live values that Envoy copies.
    unsafe {
        (calls.http_send_response)(
            envoy,
            reply.status.into(),
            headers.as_ptr(),
            headers.len(),
            ModuleBuffer::new(&reply.body),
            ModuleBuffer::new(reply.details.as_bytes()),
        );
    }
}

/// Whether Envoy takes the request for gRPC and will answer it so.
///
/// # Safety
/// As for [`send`].
unsafe fn is_grpc(calls: &Callbacks, envoy: FilterPtr) -> bool {
    let mut value = EnvoyBuffer::EMPTY;
    let name = ModuleBuffer::new(b"content-type");
    // SAFETY: the caller's promise; the result is a live local, the count is optional.
    let found = unsafe {
        (calls.http_get_header)(
            envoy,
            HeaderMap::Request as u32,
            name,
            &raw mut value,
            0,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: Envoy's bytes stay as they are until a header is changed.
    found && unsafe { super::bytes::slice(value) }.is_ok_and(is_grpc_type)
}

/// `application/grpc`, alone or with a suffix like `+proto`.
fn is_grpc_type(value: &[u8]) -> bool {
    value.strip_prefix(b"application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// The gRPC status for an HTTP status, by gRPC's own table (`http-grpc-status-mapping.md`).
fn grpc_status(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_media_type() {
        for yes in ["application/grpc", "application/grpc+proto", "application/grpc+json"] {
            assert!(is_grpc_type(yes.as_bytes()), "{yes}");
        }
        for no in ["", "application/grpc-web", "application/json", "application/grp"] {
            assert!(!is_grpc_type(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn no_http_status_means_ok_in_grpc() {
        for status in 100..600 {
            assert_ne!(grpc_status(status), 0);
        }
        assert_eq!((grpc_status(503), grpc_status(401)), (14, 16));
    }
}
