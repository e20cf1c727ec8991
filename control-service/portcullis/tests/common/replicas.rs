//! Several replicas of the service on one PostgreSQL.

use std::ops::{Deref, DerefMut};

use portcullis_mesh::postgres::Postgres;
use serde_json::Value;

use super::Server;
use super::database::postgres;

/// The replicas of one service, as a slice; they end before their database does.
pub(crate) struct Replicas {
    all: Vec<Server>,
    pub(crate) database: Postgres,
}

impl Deref for Replicas {
    type Target = [Server];

    fn deref(&self) -> &[Server] {
        &self.all
    }
}

impl DerefMut for Replicas {
    fn deref_mut(&mut self) -> &mut [Server] {
        &mut self.all
    }
}

impl Replicas {
    /// So many replicas on a server of a test's own, which its name tells from others.
    pub(crate) async fn start(test: &str, count: usize) -> Self {
        Self::start_with(test, count, |_| {}).await
    }

    /// The same, with changes to their configuration.
    pub(crate) async fn start_with(test: &str, count: usize, edit: impl Fn(&mut Value)) -> Self {
        let (database, url) = postgres(&["replicas-", test].concat()).await;
        let first = Server::start_on_with(&url, &edit).await;
        let mut all = vec![first];
        while all.len() < count {
            let next = all[0].join(&edit).await;
            all.push(next);
        }
        Self { all, database }
    }
}

/// Whether a replica says that it leads. One that cannot be asked does not.
pub(crate) async fn leads(server: &Server) -> bool {
    let Ok(answer) = server.http.get(server.url("operations", "/metrics")).send().await else { return false };
    answer.text().await.is_ok_and(|text| text.contains("portcullis_replica_leads 1\n"))
}

/// Which one leads.
pub(crate) async fn leader(replicas: &[Server]) -> Option<usize> {
    for (n, server) in replicas.iter().enumerate() {
        if leads(server).await {
            return Some(n);
        }
    }
    None
}
