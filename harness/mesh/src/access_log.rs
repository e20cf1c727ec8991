//! What became of each request, as every proxy of the mesh writes it down: for whoever has to know which policy refused
//! one, and where.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
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
    pub fn length(&self) -> Result<u64> {
        match std::fs::metadata(&self.file) {
            Ok(metadata) => Ok(metadata.len()),
            // The first proxy makes it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(MeshError::io("read", &self.file)(error)),
        }
    }

    /// A reader of what is written from there on.
    #[must_use]
    pub fn from(&self, length: u64) -> Reader<'_> {
        Reader { log: self, offset: length, hops: Vec::new() }
    }
}

/// Reads a log from some place on, each line once.
#[derive(Debug)]
pub struct Reader<'a> {
    log: &'a AccessLog,
    /// Behind the last complete line.
    offset: u64,
    hops: Vec<Hop>,
}

impl Reader<'_> {
    /// All that was written since its beginning, as far as lines are complete. What is no request of HTTP is left out.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn hops(&mut self) -> Result<&[Hop]> {
        let new = match self.read_on() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(MeshError::io("read", &self.log.file)(error)),
        };
        if let Some(end) = new.iter().rposition(|byte| *byte == b'\n') {
            let complete = new.get(..=end).unwrap_or_default();
            self.offset += complete.len() as u64;
            let lines = complete.split(|byte| *byte == b'\n');
            self.hops.extend(lines.filter_map(|line| serde_json::from_slice::<Hop>(line).ok()));
        }
        Ok(&self.hops)
    }

    fn read_on(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.log.file)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = Vec::new();
        file.read_to_end(&mut new)?;
        Ok(new)
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
        let mut reader = log.from(log.length().unwrap());
        assert!(reader.hops().unwrap().is_empty(), "no proxy has written yet");
        let line = |status: &str| {
            format!(
                "{{\"generation\":\"1\",\"local\":\"127.80.1.1:8080\",\"peer\":\"127.0.0.1:40000\",\"request_id\":null,\
                 \"status\":{status},\"details\":\"via_upstream\",\"route\":\"ready\"}}\n"
            )
        };
        let text = [line("200"), "no request\n".to_owned(), line("403")].concat();
        std::fs::write(log.file(), &text[..text.len() - 1]).unwrap();
        assert_eq!(reader.hops().unwrap().len(), 1);
        std::fs::write(log.file(), &text).unwrap();
        let seen = |hops: &[Hop]| hops.iter().map(|hop| hop.status).collect::<Vec<_>>();
        assert_eq!(seen(reader.hops().unwrap()), [Some(200), Some(403)]);
        assert_eq!(reader.offset, log.length().unwrap(), "what was read is not read again");
        assert_eq!(seen(reader.hops().unwrap()), [Some(200), Some(403)]);
        assert_eq!(log.from(line("200").len() as u64).hops().unwrap().len(), 1);
    }
}
