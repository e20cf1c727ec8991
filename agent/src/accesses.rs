//! Who came through the tunnel: for the cluster's owner, from the log of the tunnel's own Envoy. What the platform tells of a
//! caller is in there as the gateway forwarded it; a Data API proves it by the identity token.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::folder::{Folder, FolderError};

/// The log, and the one before.
const LOGS: [&str; 2] = ["accesses.before.log", "accesses.log"];
/// Bytes of a log before the next is begun.
const MOST: u64 = 16 << 20;

/// One request that came through the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Access {
    /// When it began.
    pub time: String,
    /// Whose tenant.
    pub tenant: Option<String>,
    /// Who.
    pub subject: Option<String>,
    /// What kind of caller.
    pub source_type: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The path, without its query.
    pub path: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Bytes of the answer.
    pub bytes: Option<u64>,
    /// The platform's name of the request: it is in the platform's audit records, too.
    pub request_id: Option<String>,
}

/// Where Envoy writes.
#[must_use]
pub fn log(folder: &Folder) -> PathBuf {
    folder.file(LOGS[1])
}

/// The last so many, the oldest first.
///
/// # Errors
/// [`FolderError`].
pub fn last(folder: &Folder, count: usize) -> Result<Vec<Access>, FolderError> {
    let mut last = VecDeque::new();
    for path in LOGS.map(|name| folder.file(name)) {
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            file => file.map_err(FolderError::of("read", &path))?,
        };
        for line in BufReader::new(file).lines() {
            let line = line.map_err(FolderError::of("read", &path))?;
            // The last line of one that was killed may be a part.
            let Ok(access) = serde_json::from_str::<Access>(&line) else { continue };
            last.push_back(access);
            if last.len() > count {
                last.pop_front();
            }
        }
    }
    Ok(last.into())
}

/// Begins another log where this one is long; says whether Envoy has to open it anew.
///
/// # Errors
/// [`FolderError`].
pub(crate) fn rotate(folder: &Folder) -> Result<bool, FolderError> {
    let [before, now] = LOGS.map(|name| folder.file(name));
    if now.metadata().map_or(0, |metadata| metadata.len()) < MOST {
        return Ok(false);
    }
    std::fs::rename(&now, &before).map_err(FolderError::of("write", &before))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_accesses_are_told_over_both_logs_and_half_a_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::at(folder.path());
        assert_eq!(last(&folder, 3).unwrap(), []);
        let line = |n: u64| format!("{{\"time\":\"t{n}\",\"bytes\":{n},\"status\":200,\"subject\":null}}\n");
        let filler = "x".repeat(usize::try_from(MOST).unwrap());
        std::fs::write(log(&folder), [line(1), line(2), filler, "\n".to_owned()].concat()).unwrap();
        assert!(rotate(&folder).unwrap() && !rotate(&folder).unwrap());
        std::fs::write(log(&folder), [line(3), line(4), line(5)[..9].to_owned()].concat()).unwrap();
        let told: Vec<_> = last(&folder, 3).unwrap().into_iter().map(|access| access.time).collect();
        assert_eq!(told, ["t2", "t3", "t4"]);
    }
}
