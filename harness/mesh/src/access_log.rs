//! What became of each request, as every proxy of the mesh writes it down: for whoever has to know which policy refused
//! one, and where.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::error::{MeshError, Result};

/// The generation of the configuration with which a mesh starts.
pub const FIRST: u32 = 1;

/// The access log of a run.
#[derive(Debug, Clone)]
pub struct AccessLog {
    file: PathBuf,
    generation: u32,
}

/// One request at one proxy.
#[derive(Debug, Clone, Deserialize)]
pub struct Hop {
    /// By which configuration it was decided.
    #[serde(deserialize_with = "number")]
    pub generation: u32,
    /// Where the proxy took it.
    pub local: SocketAddr,
    /// From where it came.
    pub peer: SocketAddr,
    /// By which the same request is known at other proxies.
    pub request_id: Option<String>,
    /// The status that was answered.
    pub status: Option<u16>,
    /// Why that was the answer: `via_upstream`, `rbac_access_denied_matched_policy[…]`, `route_not_found`, ….
    pub details: Option<String>,
    /// The route that it took.
    pub route: Option<String>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u32, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl AccessLog {
    /// A log in the folder of a run.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self { file: run_dir.join("logs/access.jsonl"), generation: FIRST }
    }

    /// Which configuration is the newest one. It stands in each line.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn next(&mut self) {
        self.generation += 1;
    }

    /// Where it is.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Puts it into Istio's mesh configuration. A listener has its access log beside its filters, so the generation in a line
    /// is that of the policies by which it was decided.
    pub(crate) fn ask_for(&self, mesh: &mut Value) {
        let format = json!({
            "generation": self.generation.to_string(),
            "local": "%DOWNSTREAM_LOCAL_ADDRESS%",
            "peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            // A client may write one, of any length.
            "request_id": "%REQ(X-REQUEST-ID):128%",
            "status": "%RESPONSE_CODE%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "route": "%ROUTE_NAME%",
        });
        mesh["accessLogFile"] = self.file.to_string_lossy().into();
        mesh["accessLogEncoding"] = "JSON".into();
        mesh["accessLogFormat"] = format.to_string().into();
    }

    /// How much was written until now.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn length(&self) -> Result<usize> {
        self.read().map(|text| text.len())
    }

    /// What was written after that, as far as its lines are complete. What is no request of HTTP is left out.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn since(&self, length: usize) -> Result<Vec<Hop>> {
        let text = self.read()?;
        let new = text.get(length..).unwrap_or_default();
        let complete = new.rsplit_once('\n').map_or("", |(lines, _)| lines);
        Ok(complete.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn read(&self) -> Result<String> {
        match std::fs::read(&self.file) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            // The first proxy makes it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(MeshError::io("read", &self.file)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_when_they_are_complete() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        let log = AccessLog::new(dir.path());
        assert!(log.since(0).unwrap().is_empty(), "no proxy has written yet");
        let line = |status: &str| {
            format!(
                "{{\"generation\":\"1\",\"local\":\"127.80.1.1:8080\",\"peer\":\"127.0.0.1:40000\",\"request_id\":null,\
                 \"status\":{status},\"details\":\"via_upstream\",\"route\":\"ready\"}}\n"
            )
        };
        let text = [line("200"), "no request\n".to_owned(), line("403")].concat();
        std::fs::write(log.file(), &text[..text.len() - 1]).unwrap();
        assert_eq!(log.since(0).unwrap().len(), 1);
        std::fs::write(log.file(), &text).unwrap();
        let seen: Vec<_> = log.since(0).unwrap().iter().map(|hop| hop.status).collect();
        assert_eq!(seen, [Some(200), Some(403)]);
        assert_eq!(log.since(line("200").len()).unwrap().len(), 1);
    }
}
