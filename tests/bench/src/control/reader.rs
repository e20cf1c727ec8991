//! Filters that read the snapshot: as many as one likes, and each costs little.

use std::net::SocketAddr;

use portcullis_protocol::audit::hex;
use portcullis_protocol::snapshot::{PageError, verify_page};
use portcullis_protocol::wire::{Page, SignedMessage};
use prost::Message;

use super::connection::Connection;
use super::service::{GATEWAY, MESH_TOKEN};

/// One worker of a gateway.
pub(super) struct Reader {
    connection: Connection,
    number: usize,
    polls: u64,
    generation: Vec<u8>,
    revision: u64,
    cursor: Vec<u8>,
}

/// What a poll brought, not verified yet.
pub(super) struct Answer {
    bytes: Vec<u8>,
    nonce: [u8; 16],
}

impl Answer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The page, verified as a filter does it.
    pub(super) fn verify(&self, key: &[u8; 32]) -> Result<Page, PageError> {
        verify_page(&self.bytes, key, &self.nonce, "gateway").map(|page| page.into_page())
    }
}

impl Reader {
    /// A reader that has nothing yet.
    pub(super) async fn connect(address: SocketAddr, number: usize) -> Result<Self, String> {
        let connection = Connection::open(address).await?;
        let (generation, cursor) = (Vec::new(), Vec::new());
        Ok(Self { connection, number, polls: 0, generation, revision: 0, cursor })
    }

    /// What it has.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// One poll: takes over where the page leads; whether more is to come at once.
    pub(super) async fn poll(&mut self, wait_s: u64) -> Result<(Answer, bool), String> {
        self.polls += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.polls.to_be_bytes());
        let request = self.request(&nonce, wait_s);
        let bytes = self.connection.ask(request.as_bytes()).await?.to_vec();
        let page = SignedMessage::decode(bytes.as_slice())
            .and_then(|signed| Page::decode(signed.message.as_slice()));
        let page = page.map_err(|e| e.to_string())?;
        self.generation = page.generation;
        self.revision = page.revision;
        self.cursor = page.cursor;
        Ok((Answer { bytes, nonce }, page.more))
    }

    /// Reads everything that there is.
    pub(super) async fn sync(&mut self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        loop {
            let (answer, more) = self.poll(0).await?;
            answers.push(answer);
            if !more {
                return Ok(answers);
            }
        }
    }

    /// As a gateway's own sidecar and the service's pass it on.
    fn request(&self, nonce: &[u8; 16], wait_s: u64) -> String {
        let Self { number, generation, revision, cursor, .. } = self;
        let (generation, cursor, nonce) = (hex(generation), hex(cursor), hex(nonce));
        format!(
            "GET /mesh/v1/snapshot?view=gateway&generation={generation}&revision={revision}&cursor={cursor}\
             &nonce={nonce}&wait={wait_s}&worker={number:016x}&proxy=router~10.4.1.17~gateway-{number}.istio-system \
             HTTP/1.1\r\nhost: control\r\nauthorization: Bearer {MESH_TOKEN}\r\nx-forwarded-client-cert: \
             By=spiffe://cluster.local/ns/portcullis/sa/control;Hash=ab;Subject=\"\";URI={GATEWAY}\r\n\r\n"
        )
    }
}
