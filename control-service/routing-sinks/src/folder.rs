//! A folder that istiod watches. Each cluster has a file of its own.
//!
//! A file is written beside its place, synchronised, and renamed: whoever reads the folder sees it as it was or as it is.
//! All files are written before the first is renamed, so that a full disk changes nothing. A run that was killed between
//! two renames has left some old and some new; the next one goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portcullis_control_routing::{OF_CLUSTER, Present, Resource, ResourceId, read, write};
use portcullis_identity::ids::ClusterId;
use tempfile::NamedTempFile;

use crate::error::SinkError;
use crate::sink::{Sink, Work};

/// The first line of a file of ours.
const MARK: &str = "# Written by `portcullis routes`, which writes over every edit.\n";
const SHARED: &str = "routes.yaml";
/// istiod takes no file that ends so.
const UNFINISHED: (&str, &str) = (".portcullis-routes-", ".tmp");
const LOCK: &str = ".portcullis-routes.lock";
/// More than any file of ours has.
const MOST_BYTES: u64 = 8 << 20;

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    force: bool,
}

impl Folder {
    /// A folder, which has to be there. `force`: files that are not ours and stand where ours belong are written over.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, force: bool) -> Self {
        Self { path: path.into(), force }
    }

    /// Name and path of whatever stands in it.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>, SinkError> {
        let named = |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let entries = fs::read_dir(&self.path).and_then(|all| all.map(|entry| entry.map(named)).collect());
        entries.map_err(SinkError::file("list", &self.path))
    }

    /// Every file of ours by its name, with its text.
    fn files(&self) -> Result<BTreeMap<String, String>, SinkError> {
        let mut found = BTreeMap::new();
        for (name, path) in self.entries()? {
            if is_named_as_ours(&name)
                && let Some(text) = text_of_ours(&path)?
            {
                found.insert(name, text);
            }
        }
        Ok(found)
    }

    fn look(&self) -> Result<Vec<Present>, SinkError> {
        let resources = self.files()?.into_values().filter_map(|text| read(&text).ok()).flatten();
        // One that stands in two files is there once.
        let by_id: BTreeMap<ResourceId, _> = resources.collect();
        Ok(by_id.into_iter().map(|(id, body)| Present { id, body }).collect())
    }

    fn bring_in_step(&self, work: Work<'_>) -> Result<(), SinkError> {
        let _lock = self.lock()?;
        self.sweep()?;
        let before = self.files()?;
        let after = texts(work)?;
        let mut written = Vec::new();
        for (name, text) in &after {
            if before.get(name) != Some(text) {
                written.push((self.written(name, text, before.contains_key(name))?, name));
            }
        }
        for (file, name) in written {
            let path = self.path.join(name);
            file.persist(&path).map_err(|error| SinkError::file("write", path)(error.error))?;
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            let path = self.path.join(name);
            fs::remove_file(&path).map_err(SinkError::file("remove", path))?;
        }
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(SinkError::file("write", &self.path))
    }

    /// One writer at a time; a run that was killed holds nothing.
    fn lock(&self) -> Result<File, SinkError> {
        let path = self.path.join(LOCK);
        let file =
            File::options().create(true).append(true).open(&path).map_err(SinkError::file("write", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(SinkError::Busy(self.path.clone())),
            Err(fs::TryLockError::Error(error)) => Err(SinkError::file("lock", path)(error)),
        }
    }

    /// Takes away what a run that was killed has left unfinished.
    fn sweep(&self) -> Result<(), SinkError> {
        for (name, path) in self.entries()? {
            if name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1) {
                fs::remove_file(&path).map_err(SinkError::file("remove", path))?;
            }
        }
        Ok(())
    }

    /// A file beside its place, which is on the disk and reads back.
    fn written(&self, name: &str, text: &str, ours: bool) -> Result<NamedTempFile, SinkError> {
        let path = self.path.join(name);
        if !ours && !self.force && path.symlink_metadata().is_ok() {
            return Err(SinkError::ForeignFile(path));
        }
        if let Err(problem) = read(text) {
            return Err(SinkError::NotReadable { path, problem: problem.to_string() });
        }
        let beside = || -> io::Result<NamedTempFile> {
            let mut file = tempfile::Builder::new()
                .prefix(UNFINISHED.0)
                .suffix(UNFINISHED.1)
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(&self.path)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        beside().map_err(SinkError::file("write", path))
    }
}

impl Sink for Folder {
    async fn present(&self) -> Result<Vec<Present>, SinkError> {
        self.look()
    }

    async fn carry_out(&self, work: Work<'_>) -> Result<(), SinkError> {
        self.bring_in_step(work)
    }
}

/// Every file as it has to be: what is wanted in the file of its cluster, and what is not wanted and stays, beside it.
fn texts(work: Work<'_>) -> Result<BTreeMap<String, String>, SinkError> {
    let planned: BTreeMap<&ResourceId, &Resource> = work
        .plan
        .create
        .iter()
        .chain(work.plan.change.iter().map(|change| &change.resource))
        .map(|resource| (&resource.id, resource))
        .collect();
    let deleted: BTreeSet<&ResourceId> = work.plan.delete.iter().collect();
    let stays = |one: &&Present| !deleted.contains(&one.id) && !planned.contains_key(&one.id);
    let kept = work.present.iter().filter(stays).map(|one| {
        // Somebody may have edited it, and it becomes the name of a file.
        let cluster =
            one.body["metadata"]["labels"][OF_CLUSTER].as_str().and_then(|id| ClusterId::new(id).ok());
        (name_of(cluster.as_ref()), &one.id, &one.body)
    });
    let made = planned.values().map(|one| (name_of(one.cluster.as_ref()), &one.id, &one.body));
    let mut files: BTreeMap<String, BTreeMap<&ResourceId, Resource>> = BTreeMap::new();
    for (name, id, body) in kept.chain(made) {
        let resource = Resource { id: id.clone(), cluster: None, body: body.clone() };
        files.entry(name).or_default().insert(id, resource);
    }
    let text = |(name, resources): (String, BTreeMap<_, Resource>)| -> Result<_, SinkError> {
        Ok((name, [MARK, &write(resources.values())?].concat()))
    };
    files.into_iter().map(text).collect()
}

fn name_of(cluster: Option<&ClusterId>) -> String {
    cluster.map_or_else(|| SHARED.to_owned(), |cluster| format!("routes-{cluster}.yaml"))
}

fn is_named_as_ours(name: &str) -> bool {
    name == SHARED || name.starts_with("routes-") && name.ends_with(".yaml")
}

/// The text of a file that begins as ours do; none of another one.
fn text_of_ours(path: &Path) -> Result<Option<String>, SinkError> {
    let read = || -> io::Result<Option<String>> {
        let about = fs::symlink_metadata(path)?;
        if !about.is_file() || about.len() > MOST_BYTES {
            return Ok(None);
        }
        let bytes = fs::read(path)?;
        Ok(bytes.starts_with(MARK.as_bytes()).then(|| String::from_utf8_lossy(&bytes).into_owned()))
    };
    match read() {
        // Somebody has just taken it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map_err(SinkError::file("read", path)),
    }
}
