//! How the agent is doing: for its health page, its metrics, and `portcullis agent status`.

use std::collections::BTreeMap;
use std::fmt::Write;

use portcullis_identity::ids::{ClusterId, TenantId};
use serde::{Deserialize, Serialize};

/// The file in the agent's folder.
pub const STATUS: &str = "status.json";

/// What the agent does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Joining.
    Join,
    /// Heartbeats.
    Heartbeat,
    /// Renewing the certificate.
    Renewal,
    /// Asking for the configuration.
    Configuration,
    /// Keeping the tunnel's Envoy.
    Tunnel,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Join, Self::Heartbeat, Self::Renewal, Self::Configuration, Self::Tunnel];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Heartbeat => "heartbeat",
            Self::Renewal => "renewal",
            Self::Configuration => "configuration",
            Self::Tunnel => "tunnel",
        }
    }
}

/// How a task is going.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// When it last went well, milliseconds since the Unix epoch.
    pub last_good_ms: Option<u64>,
    /// What went wrong last, if nothing went well since.
    pub failure: Option<String>,
    /// How often it went well.
    pub good: u64,
    /// How often it did not.
    pub bad: u64,
}

/// How all of it is going.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// When this was written, milliseconds since the Unix epoch.
    pub written_ms: u64,
    /// The cluster.
    pub cluster: Option<ClusterId>,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// The certificate's serial number.
    pub serial: Option<String>,
    /// Until when the certificate is good.
    pub not_after_ms: Option<u64>,
    /// From when on it is to be replaced.
    pub renew_after_ms: Option<u64>,
    /// The cluster's state, as the platform last told.
    pub state: Option<String>,
    /// Seconds between heartbeats.
    pub heartbeat_interval_s: Option<u64>,
    /// By how many seconds the platform's clock is ahead of this one.
    pub clock_ahead_s: Option<i64>,
    /// The tasks.
    pub tasks: BTreeMap<Task, Progress>,
}

impl Status {
    /// What keeps it from being ready, in plain words.
    #[must_use]
    pub fn troubles(&self, now_ms: u64) -> Vec<String> {
        let mut troubles: Vec<String> = self
            .tasks
            .iter()
            .filter_map(|(task, progress)| Some(format!("{}: {}", task.as_str(), progress.failure.as_ref()?)))
            .collect();
        if self.not_after_ms.is_none() {
            troubles.push("the agent has not joined".to_owned());
        } else if self.not_after_ms.is_some_and(|end| end <= now_ms) {
            troubles.push("the certificate is over: ask for a join token".to_owned());
        }
        let allowed = self.heartbeat_interval_s.unwrap_or(30).saturating_mul(3000);
        if self.last_heartbeat_ms().is_none_or(|last| now_ms.saturating_sub(last) > allowed) {
            troubles.push("no heartbeat has reached the platform lately".to_owned());
        }
        troubles
    }

    fn last_heartbeat_ms(&self) -> Option<u64> {
        self.tasks.get(&Task::Heartbeat).and_then(|progress| progress.last_good_ms)
    }

    /// As Prometheus reads it.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut page = String::new();
        let mut gauge = |name: &str, value: Option<i64>| {
            if let Some(value) = value {
                // Writing into a String cannot fail.
                let _ =
                    writeln!(page, "# TYPE portcullis_agent_{name} gauge\nportcullis_agent_{name} {value}");
            }
        };
        let seconds = |ms: Option<u64>| ms.and_then(|ms| i64::try_from(ms / 1000).ok());
        gauge("certificate_not_after_seconds", seconds(self.not_after_ms));
        gauge("certificate_renew_after_seconds", seconds(self.renew_after_ms));
        gauge("clock_ahead_seconds", self.clock_ahead_s);
        gauge("last_heartbeat_seconds", seconds(self.last_heartbeat_ms()));
        page.push_str("# TYPE portcullis_agent_tasks_total counter\n");
        for task in Task::ALL {
            let progress = self.tasks.get(&task).cloned().unwrap_or_default();
            for (outcome, count) in [("good", progress.good), ("bad", progress.bad)] {
                let task = task.as_str();
                let _ = writeln!(
                    page,
                    "portcullis_agent_tasks_total{{task=\"{task}\",outcome=\"{outcome}\"}} {count}"
                );
            }
        }
        page
    }
}
