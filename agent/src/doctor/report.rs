//! What the doctor tells, line by line.

use serde::Serialize;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The agent's folder.
    Folder,
    /// Its certificate.
    Certificate,
    /// Names.
    Dns,
    /// The HTTP proxy.
    Proxy,
    /// The way to the platform.
    Network,
    /// Whether it is the platform that answers.
    Tls,
    /// Whether the platform takes the certificate.
    Platform,
    /// This machine's clock.
    Clock,
    /// The tunnel.
    Tunnel,
    /// The Data API.
    DataApi,
    /// The keys that identity tokens are verified by.
    IdentityKeys,
}

impl Subject {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Certificate => "certificate",
            Self::Dns => "DNS",
            Self::Proxy => "proxy",
            Self::Network => "network",
            Self::Tls => "TLS",
            Self::Platform => "platform",
            Self::Clock => "clock",
            Self::Tunnel => "tunnel",
            Self::DataApi => "Data API",
            Self::IdentityKeys => "identity keys",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: Subject,
    /// Whether all is well with it.
    pub ok: bool,
    /// What was seen, and what to do if something is wrong.
    pub told: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.ok { "ok" } else { "FAILED" };
        write!(f, "{:<14} {verdict:<7} {}", self.subject.as_str(), self.told)
    }
}

/// All lines. What cannot be looked at because of something before it has none.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    pub(super) fn good(&mut self, subject: Subject, told: impl Into<String>) {
        self.0.push(Finding { subject, ok: true, told: told.into() });
    }

    pub(super) fn bad(&mut self, subject: Subject, told: &dyn std::fmt::Display) {
        self.0.push(Finding { subject, ok: false, told: told.to_string() });
    }
}
