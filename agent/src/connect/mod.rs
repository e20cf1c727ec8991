//! The way to the platform: outbound, TLS 1.3, to a server that is proved by its root.

mod address;
mod dial;
mod error;
mod tls;

pub(crate) use address::authority;
pub use address::{AddressError, Proxy, Server};
pub use dial::dial;
pub use error::{ConnectError, TlsFault};
pub(crate) use tls::fault;
pub use tls::{Own, Trust, shake_hands};
