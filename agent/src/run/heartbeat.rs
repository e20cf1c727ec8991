//! Heartbeats.

use std::time::Duration;

use portcullis_control_contract::clusters::HeartbeatRequest;

use super::life::Life;
use super::status::Task;
use crate::backoff::{Backoff, share};

/// Unless the platform says otherwise.
const INTERVAL: Duration = Duration::from_secs(30);

/// What an agent says of itself.
pub(crate) fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest { version: Some(env!("CARGO_PKG_VERSION").to_owned()), ..HeartbeatRequest::default() }
}

/// Tells the platform again and again that the cluster is alive.
pub(crate) async fn beat(life: &Life) {
    let mut follow = life.follow();
    let mut backoff = Backoff::default();
    let mut interval = INTERVAL;
    while let Some(platform) = life.platform_now(&mut follow, Task::Heartbeat, interval).await {
        // Until there is another certificate.
        while !follow.has_changed().unwrap_or(true) {
            let pause = match platform.heartbeat(&heartbeat()).await {
                Ok(answer) => {
                    backoff.reset();
                    interval = Duration::from_secs(answer.next_heartbeat_s.clamp(1, 3600));
                    life.note(|status| {
                        status.state = Some(answer.state.as_str().to_owned());
                        status.heartbeat_interval_s = Some(interval.as_secs());
                    });
                    life.good(Task::Heartbeat);
                    interval.mul_f64(0.9 + share() / 10.0)
                }
                Err(error) => {
                    life.bad(Task::Heartbeat, &error);
                    backoff.next(life.judge(&error), interval)
                }
            };
            life.compare_clocks(&platform);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = follow.changed() => { follow.mark_changed(); }
            }
        }
    }
}
