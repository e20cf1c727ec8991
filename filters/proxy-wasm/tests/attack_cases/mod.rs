//! The cases of the attack suite.

pub(crate) mod claims;
#[cfg(feature = "slow")]
pub(crate) mod envoy;
pub(crate) mod forms;
pub(crate) mod hosts;
pub(crate) mod keys;
pub(crate) mod places;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_testhost::Request;

use crate::world::to;

/// One attack and how it must end.
#[derive(Clone)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

/// An attack by a request.
pub(crate) fn by(name: &'static str, request: Request, status: u16, reason: &'static str) -> Attack {
    Attack { name, request, status, reason }
}

/// An attack by a bearer token, refused with 401.
pub(crate) fn token(name: &'static str, token: impl AsRef<[u8]>, reason: &'static str) -> Attack {
    let value = [b"Bearer ", token.as_ref()].concat();
    by(name, to("acme-1").header("authorization", value), 401, reason)
}

/// Base64url.
pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header, payload and signature of a token.
pub(crate) fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().expect("three parts")
}

/// What is behind base64url.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}
