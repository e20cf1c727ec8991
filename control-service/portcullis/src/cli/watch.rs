//! `portcullis clusters watch`: states as they change.

use std::io::Write;
use std::time::Duration;

use portcullis_control_contract::clusters::{ClusterEvent, ClusterList, ClusterListQuery};
use portcullis_identity::ids::ClusterId;
use serde_json::json;

use super::client::{Call, ClientError, Connection, Event, MOST, ask, events};

/// How long it takes until a watch is begun again that the service has ended.
const AGAIN: Duration = Duration::from_secs(1);

/// Prints states until it is stopped, or the service refuses.
///
/// # Errors
/// [`ClientError`]: the service refuses, or was never there.
pub(super) async fn watch(connection: &Connection) -> Result<(), ClientError> {
    let mut last = String::new();
    loop {
        let call = Call::get(&["v1", "clusters", "watch"]);
        let each = async |event: &Event| match event.kind.as_str() {
            "cluster" => {
                let event: ClusterEvent = serde_json::from_str(&event.data)
                    .map_err(|error| ClientError::Answer(error.to_string()))?;
                line(connection, &event.id, event.tenant.as_str(), event.state.as_str())
            }
            // What was printed before may leave changes out.
            "resync" => all(connection).await,
            _ => Ok(()),
        };
        match events(connection, call, &mut last, each).await {
            Ok(()) => {}
            // It was there, and may be there again: where it was is known.
            Err(
                ClientError::Http { .. }
                | ClientError::TimedOut { .. }
                | ClientError::NoConnection { .. }
                | ClientError::Refused { status: 503, .. },
            ) if !last.is_empty() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Prints the state of every cluster.
async fn all(connection: &Connection) -> Result<(), ClientError> {
    let mut after = String::new();
    loop {
        let query = ClusterListQuery { after, limit: MOST, ..ClusterListQuery::default() };
        let ClusterList { clusters, next } =
            ask(connection, Call::get(&["v1", "clusters"]).query(&query)).await?;
        for cluster in clusters {
            line(connection, &cluster.id, cluster.tenant.as_str(), cluster.state.as_str())?;
        }
        let Some(next) = next else { return Ok(()) };
        after = next;
    }
}

fn line(connection: &Connection, id: &ClusterId, tenant: &str, state: &str) -> Result<(), ClientError> {
    let text = match connection.prints_json() {
        true => json!({"id": id.as_str(), "tenant": tenant, "state": state}).to_string(),
        false => [id.as_str(), tenant, state].join("  "),
    };
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}
