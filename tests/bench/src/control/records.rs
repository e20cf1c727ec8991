//! Audit records by the thousand, as gateways deliver them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_control_domain::audit::Sender;
use portcullis_control_store::Store;
use portcullis_identity::ids::SpiffeId;
use portcullis_protocol::wire::{AuditBatch, AuditRecord};
use prost::Message;

/// What is delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Streams that deliver at the same time, each one batch after the other.
    pub streams: u8,
    /// Records of a batch.
    pub batch: u64,
    /// Batches of each stream.
    pub batches: u64,
}

impl Load {
    /// Records in all.
    pub(super) fn records(&self) -> u64 {
        u64::from(self.streams) * self.batch * self.batches
    }

    /// All batches, by stream. Each round has streams of its own.
    pub(super) fn deliveries(&self, round: u8) -> Vec<Vec<AuditBatch>> {
        let streams = (0..self.streams).map(|stream| {
            let mut id = [7; 16];
            [id[0], id[1]] = [round, stream];
            (0..self.batches).map(|batch| self.batch(id, batch * self.batch)).collect()
        });
        streams.collect()
    }

    fn batch(&self, stream: [u8; 16], before: u64) -> AuditBatch {
        let settled = before + self.batch;
        let records = (before + 1..=settled).map(|sequence| record(stream, sequence).encode_to_vec());
        AuditBatch { records: records.collect(), stream: stream.to_vec(), settled }
    }
}

/// A number that looks like a random one (splitmix64).
pub(super) fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A record of a request as a gateway writes it: of one of 2,000 people, for one of 300 clusters.
fn record(stream: [u8; 16], sequence: u64) -> AuditRecord {
    let seed = mixed((u64::from(stream[0]) << 48) + (u64::from(stream[1]) << 40) + sequence);
    let one_of = |prefix: &str, of: u64| format!("{prefix}{}", seed % of);
    AuditRecord {
        stream: stream.to_vec(),
        sequence,
        time_ms: 1_790_000_000_000 + sequence,
        proxy: "router~10.4.1.17~ingressgateway-6d5f7c9b8-x2x7p.istio-system~istio-system.svc.cluster.local"
            .into(),
        request_id: format!("{:08x}-{:04x}-4abc-8def-{:012x}", seed >> 32, seed & 0xffff, mixed(seed) >> 16),
        decision: "allow".into(),
        status: 200,
        duration_us: 1_234,
        subject: one_of("00u1a2b3c4d5e6f7-", 2_000),
        tenant: one_of("tenant-", 20),
        source_type: "human".into(),
        credential: "jwt".into(),
        key_id: "2026-11-key-1".into(),
        cluster: one_of("cluster-", 300),
        method: "GET".into(),
        path: one_of("/api/v2/datasets/sales/rows/", 100_000),
        client_address: "198.51.100.23".into(),
        request_bytes: 120,
        response_bytes: 5_120,
        mode: "enforce".into(),
        hop: "gateway".into(),
        issuer: "https://login.example.com/oauth2/default".into(),
        ..AuditRecord::default()
    }
}

/// Delivers everything; returns how long it took until all of it was durable.
///
/// # Errors
/// What the store says, or that it did not store everything.
pub(super) async fn deliver(store: &Store, deliveries: Vec<Vec<AuditBatch>>) -> Result<Duration, String> {
    let id = SpiffeId::new("spiffe://cluster.local/ns/istio-system/sa/ingressgateway");
    let sender = Arc::new(Sender::gateway(&id.map_err(|e| e.to_string())?));
    let begun = Instant::now();
    let mut streams = tokio::task::JoinSet::new();
    for batches in deliveries {
        let (store, sender) = (store.clone(), Arc::clone(&sender));
        streams.spawn(async move {
            for batch in batches {
                let sent = batch.records.len() as u64;
                let outcome = store.ingest((*sender).clone(), batch).await.map_err(|e| e.to_string())?;
                if outcome.ack.stored != sent {
                    return Err(format!("of {sent} records: {:?}", outcome.ack));
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended.map_err(|e| e.to_string())??;
    }
    Ok(begun.elapsed())
}
