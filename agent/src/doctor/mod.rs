//! `portcullis agent doctor`: what is wrong, in plain words, and what to do about it.

mod report;

use std::path::PathBuf;

use crate::call::{CallError, Platform};
use crate::configuration::IDENTITY_KEYS;
use crate::connect::{ConnectError, Proxy, Server, dial, shake_hands};
use crate::credential::Credential;
use crate::folder::{self, Folder};
use crate::plain::ask;
use crate::run::{ahead_s, proxy};
use crate::tunnel::{Target, Wiring, connected};
use hyper::Method;
use portcullis_control_contract::agents::{AgentConfiguration, TunnelConfiguration};
use portcullis_control_domain::clock::{now_ms, rfc3339};
use report::Report;
pub use report::{Finding, Subject};

/// Seconds by which clocks may differ.
const CLOCKS: i64 = 60;

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Doctor {
    /// The agent's folder.
    pub folder: Folder,
    /// The platform, where the agent has not joined.
    pub server: Option<Server>,
    /// The HTTP proxy; that of the surroundings unless given.
    pub proxy: Option<String>,
    /// The tunnel.
    pub wiring: Wiring,
    /// The file of keys that the Data API reads, if it is another than the agent's.
    pub identity_keys: Option<PathBuf>,
}

impl Doctor {
    /// Looks at everything.
    pub async fn examine(&self) -> Vec<Finding> {
        let mut report = Report::default();
        let held = self.held(&mut report);
        let known = held.as_ref().and_then(|held| held.issued.server.parse().ok());
        let mut told = None;
        if let Some(server) = known.or_else(|| self.server.clone()) {
            told = self.platform(&mut report, &server, held.as_ref()).await;
        }
        if let Some(held) = &held {
            self.keys(&mut report, told.as_ref());
            self.tunnel(&mut report, held, told.as_ref()).await;
        }
        self.data_api(&mut report).await;
        report.0
    }

    /// The certificate, if there is one.
    fn held(&self, report: &mut Report) -> Option<Credential> {
        let path = self.folder.path();
        match folder::is_private(path) {
            Ok(true) => report.good(Subject::Folder, path.display().to_string()),
            Ok(false) => {
                let path = path.to_owned();
                report.bad(Subject::Folder, &folder::FolderError::Open(path));
            }
            Err(error) => report.bad(
                Subject::Folder,
                &format!(
                    "{} cannot be used ({error}): has the agent joined, and is this its --folder?",
                    path.display()
                ),
            ),
        }
        match self.folder.credential() {
            Ok(Some(held)) => {
                certificate(report, &held);
                Some(held)
            }
            Ok(None) => {
                let todo = "there is none: get a join token (portcullis clusters join-token CLUSTER), and run portcullis agent join";
                report.bad(Subject::Certificate, &todo);
                None
            }
            Err(error) => {
                report.bad(Subject::Certificate, &error);
                None
            }
        }
    }

    /// The way to the platform, step by step; gives what it tells.
    async fn platform(
        &self,
        report: &mut Report,
        server: &Server,
        held: Option<&Credential>,
    ) -> Option<AgentConfiguration> {
        let proxy = match proxy(server, self.proxy.as_deref()) {
            Ok(proxy) => proxy,
            Err(error) => {
                report.bad(Subject::Proxy, &error);
                return None;
            }
        };
        if let Err(error) = way(report, server, proxy.as_ref(), held).await {
            report.bad(step(&error), &error);
            return None;
        }
        let held = held?;
        let platform = Platform::new(server.clone(), proxy, held.trust(), Some(held.clone()));
        let asked = platform.configuration(None, 0).await;
        clock(report, &platform);
        match asked {
            Ok(told) => {
                report.good(Subject::Platform, format!("{server} takes the certificate"));
                told.map(|told| told.configuration)
            }
            Err(CallError::Connect(error @ ConnectError::Refused(_))) => {
                report.bad(Subject::Platform, &error);
                None
            }
            Err(error) if error.is_about_the_certificate() => {
                report.bad(Subject::Platform, &format!("{error}. Ask for a join token"));
                None
            }
            Err(error) => {
                report.bad(Subject::Platform, &error);
                None
            }
        }
    }

    fn keys(&self, report: &mut Report, told: Option<&AgentConfiguration>) {
        let own = self.folder.file(IDENTITY_KEYS);
        let mut files = vec![own];
        files.extend(self.identity_keys.clone());
        let told = told.cloned().or_else(|| self.folder.configuration().ok().flatten());
        let Some(told) = told.and_then(|told| serde_json::to_value(told.identity.keys).ok()) else {
            report.bad(Subject::IdentityKeys, &"the platform has told none yet: is the agent running?");
            return;
        };
        for file in &files {
            let path = file.display();
            let there = folder::read(file).ok().flatten();
            let there = there.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            match there {
                None => {
                    report.bad(
                        Subject::IdentityKeys,
                        &format!("{path} is missing or no JSON: is the agent running?"),
                    );
                    return;
                }
                Some(there) if there != told => {
                    let todo = "holds other keys than the platform tells: is the agent running, and is its disk full?";
                    report.bad(Subject::IdentityKeys, &format!("{path} {todo}"));
                    return;
                }
                Some(_) => {}
            }
        }
        let count = told["keys"].as_array().map_or(0, Vec::len);
        report.good(Subject::IdentityKeys, format!("{count} in {}", files[files.len() - 1].display()));
    }

    /// What the tunnel's Envoy has, and if it has nothing, why.
    async fn tunnel(&self, report: &mut Report, held: &Credential, told: Option<&AgentConfiguration>) {
        let admin = self.wiring.admin;
        let kept = self.folder.configuration().ok().flatten();
        let Some(told) = told.or(kept.as_ref()).and_then(|told| told.tunnel.as_ref()) else {
            report.good(Subject::Tunnel, "the platform has none of Envoy's for this cluster");
            return;
        };
        let nothing = match connected(admin).await {
            Ok(0) => "Envoy has no connection".to_owned(),
            Ok(count) => {
                report.good(Subject::Tunnel, format!("{count} connections"));
                return;
            }
            Err(why) => {
                let todo = "is it running? The agent's log says how it ended";
                report.bad(Subject::Tunnel, &format!("Envoy does not answer at {admin} ({why}): {todo}"));
                return;
            }
        };
        match self.dial_as_envoy(held, told).await {
            Ok(()) => {
                let todo =
                    "this machine can connect: it dials anew by itself; if it stays so, see Envoy's log";
                report.bad(Subject::Tunnel, &format!("{nothing}, although {todo}"));
            }
            Err(why) => report.bad(Subject::Tunnel, &format!("{nothing}: {why}")),
        }
    }

    async fn dial_as_envoy(&self, held: &Credential, told: &TunnelConfiguration) -> Result<(), String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let target = Target::of(told).map_err(|error| words(&error))?;
        let at = Server { host: target.address.host, port: target.address.port };
        let proxy = proxy(&at, self.proxy.as_deref()).map_err(|error| words(&error))?;
        let stream = dial(&at.host, at.port, proxy.as_ref()).await.map_err(|error| words(&error))?;
        let named = Server { host: target.server_name, port: at.port };
        shake_hands(stream, &named, &held.trust(), Some(held.own()))
            .await
            .map(drop)
            .map_err(|error| words(&error))
    }

    async fn data_api(&self, report: &mut Report) {
        let at = &self.wiring.data_api;
        match ask(&at.host, at.port, Method::GET, "/").await {
            Ok((status, _)) => report.good(Subject::DataApi, format!("{at} answers (HTTP {status})")),
            Err(why) => report.bad(
                Subject::DataApi,
                &format!("{at} does not answer ({why}): is it running, and is --data-api right?"),
            ),
        }
    }
}

fn certificate(report: &mut Report, held: &Credential) {
    let (facts, issued, now_ms) = (&held.facts, &held.issued, now_ms());
    let (now, date) = (now_ms / 1000, |s: u64| rfc3339(s.saturating_mul(1000)));
    // By then it was tried again and again.
    let late = issued.renew_after_ms + issued.not_after_ms.saturating_sub(issued.renew_after_ms) / 2;
    if now < facts.not_before {
        let begin = date(facts.not_before);
        let told =
            format!("good from {begin} on, and this machine's clock says {}: set the clock", date(now));
        report.bad(Subject::Certificate, &told);
    } else if now >= facts.not_after {
        let (end, now) = (date(facts.not_after), date(now));
        let todo = "ask for a join token (portcullis clusters join-token CLUSTER), unless the clock is wrong";
        report.bad(Subject::Certificate, &format!("was good until {end}, and the clock says {now}: {todo}"));
    } else if now_ms > late {
        let since = rfc3339(issued.renew_after_ms);
        let told = format!("should have been replaced since {since}: is the agent running?");
        report.bad(Subject::Certificate, &told);
    } else {
        let told = format!("of {}, good until {}", facts.cluster, date(facts.not_after));
        report.good(Subject::Certificate, told);
    }
}

/// The way to the platform, up to a TLS connection.
async fn way(
    report: &mut Report,
    server: &Server,
    proxy: Option<&Proxy>,
    held: Option<&Credential>,
) -> Result<(), ConnectError> {
    let stream = dial(&server.host, server.port, proxy).await?;
    match proxy {
        Some(proxy) => report.good(Subject::Proxy, format!("{proxy} lets connections to {server} through")),
        None => {
            report.good(Subject::Dns, format!("{} is found", server.host));
            report.good(Subject::Network, format!("{server} takes connections"));
        }
    }
    // Without a certificate nothing is known by which the platform could be told from others.
    let Some(held) = held else { return Ok(()) };
    shake_hands(stream, server, &held.trust(), Some(held.own())).await?;
    report
        .good(Subject::Tls, format!("{server} is the platform, and nobody opens the connection on the way"));
    Ok(())
}

/// To what an error belongs.
fn step(error: &ConnectError) -> Subject {
    match error {
        ConnectError::Dns { .. } => Subject::Dns,
        ConnectError::Proxy { .. }
        | ConnectError::ProxyCredentials { .. }
        | ConnectError::ProxyRefused { .. } => Subject::Proxy,
        ConnectError::Unreachable { .. } | ConnectError::Silent { .. } => Subject::Network,
        ConnectError::Server(_) | ConnectError::Tls { .. } => Subject::Tls,
        ConnectError::Refused(_) => Subject::Platform,
        ConnectError::Own(_) => Subject::Certificate,
    }
}

fn clock(report: &mut Report, platform: &Platform) {
    let Some(ahead) = platform.date().map(ahead_s) else { return };
    if ahead.abs() <= CLOCKS {
        report.good(Subject::Clock, format!("{} s beside the platform's", ahead.abs()));
    } else {
        let way = if ahead > 0 { "behind" } else { "ahead of" };
        let told = format!("this machine's clock is {} s {way} the platform's: set it (NTP)", ahead.abs());
        report.bad(Subject::Clock, &told);
    }
}
