//! The first words of a client that speaks an older TLS than the tests' own, and what a server answers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A record, and an alert in it (RFC 8446 §5.1, §6.2).
pub(crate) const ALERT: u8 = 21;
pub(crate) const PROTOCOL_VERSION: u8 = 70;

/// What a client offers that speaks nothing newer than TLS 1.2. rustls as it is built here speaks nothing older than 1.3.
pub(crate) struct Offer {
    pub(crate) version: [u8; 2],
    pub(crate) ciphers: &'static [u8],
}

pub(crate) const TLS_1_2: [u8; 2] = [3, 3];

/// ECDHE-ECDSA and ECDHE-RSA with AES128-GCM-SHA256.
pub(crate) const BEST_OF_1_2: Offer = Offer { version: TLS_1_2, ciphers: &[0xc0, 0x2b, 0xc0, 0x2f] };

/// What a server answers: the type of the record, and its last byte, which of an alert is the reason.
pub(crate) async fn answer_to(address: SocketAddr, offer: &Offer, name: Option<&str>) -> (u8, u8) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&hello(offer, name)).await.unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await.unwrap();
    (head[0], *body.last().unwrap())
}

/// A ClientHello of RFC 5246.
fn hello(offer: &Offer, name: Option<&str>) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let extension = |kind: u8, bytes: &[u8]| [&[0, kind][..], &sized(bytes)].concat();
    // server_name: a host
    let named = name.map(|name| extension(0, &sized(&[&[0][..], &sized(name.as_bytes())].concat())));
    let extensions = [
        named.unwrap_or_default(),
        // supported_groups: secp256r1, x25519
        extension(10, &sized(&[0, 23, 0, 29])),
        // signature_algorithms: ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256
        extension(13, &sized(&[4, 3, 8, 4])),
    ]
    .concat();
    let ciphers = sized(offer.ciphers);
    let hello = [&offer.version[..], &[7; 32], &[0], &ciphers, &[1, 0], &sized(&extensions)].concat();
    let message = [&[1, 0][..], &sized(&hello)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}
