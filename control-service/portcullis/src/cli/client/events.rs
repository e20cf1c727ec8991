//! Server-sent events of a running service, as far as it sends them.

use std::time::Duration;

use super::{Call, ClientError, Connection, refused, request};

/// The service says something every 15 s.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of one event at most.
const MOST: usize = 64 * 1024;

/// An event that was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Event {
    /// What kind of event.
    pub(in crate::cli) kind: String,
    /// Where it stands among the others.
    pub(in crate::cli) id: String,
    /// What it says.
    pub(in crate::cli) data: String,
}

/// Reads events until the service ends them, or `each` fails. `last` is the id of the last one that was read.
pub(in crate::cli) async fn events(
    connection: &Connection,
    call: Call,
    last: &mut String,
    each: impl AsyncFn(&Event) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let failed = |error: reqwest::Error| connection.failed(&error, false);
    let mut request = request(connection, call, |builder| builder.read_timeout(SILENCE))?;
    if !last.is_empty() {
        request = request.header("last-event-id", last.as_str());
    }
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(refused(status, &response.bytes().await.map_err(failed)?));
    }
    let mut text = Vec::new();
    while let Some(more) = response.chunk().await.map_err(failed)? {
        text.extend_from_slice(&more);
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            if let Some(event) = read(&String::from_utf8_lossy(&event)) {
                each(&event).await?;
                last.clone_from(&event.id);
            }
        }
        if text.len() > MOST {
            return Err(ClientError::Answer("an event is longer than 64 KiB".to_owned()));
        }
    }
    Ok(())
}

/// The parts of an event; `None` of a comment.
fn read(text: &str) -> Option<Event> {
    let mut read = Event::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "event" => value.clone_into(&mut read.kind),
            "id" => value.clone_into(&mut read.id),
            "data" => value.clone_into(&mut read.data),
            _ => {}
        }
    }
    (!read.kind.is_empty()).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_parts_and_a_comment_is_none() {
        let [kind, id, data] = ["cluster", "ab-1", "{}"].map(str::to_owned);
        assert_eq!(read("event: cluster\nid: ab-1\ndata: {}\n\n"), Some(Event { kind, id, data }));
        assert_eq!(read(":\n\n"), None);
    }
}
