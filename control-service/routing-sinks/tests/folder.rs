//! A folder: whole files only, ours alone, and repaired after whatever befell it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use portcullis_control_routing::{Placement, Resource, Settings, State, Wanted, read, render};
use portcullis_control_routing_sinks::{Folder, Report, SinkError, Task, reconcile};
use portcullis_identity::ids::ClusterId;

const APPLY: Task = Task { apply: true, prune: true, dry_run: false };

fn routes(ids: &[&str]) -> Vec<Resource> {
    let text = include_str!("../../routing/tests/settings.yaml");
    let all: Vec<_> = ids
        .iter()
        .map(|id| Wanted {
            id: ClusterId::new(id).unwrap(),
            placement: Placement::Hosted,
            state: State::Kept,
        })
        .collect();
    render(&Settings::parse(text).unwrap(), &all).unwrap()
}

async fn run(folder: &Path, ids: &[&str], task: Task) -> Result<Report, SinkError> {
    reconcile(&Folder::new(folder, false), &routes(ids), task).await
}

/// Name and text of every file.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let text = |entry: &fs::DirEntry| String::from_utf8(fs::read(entry.path()).unwrap()).unwrap();
    let all = entries.map(|entry| (entry.file_name().into_string().unwrap(), text(&entry)));
    all.filter(|(name, _)| name != ".portcullis-routes.lock").collect()
}

#[tokio::test]
async fn each_cluster_has_a_file_and_a_second_pass_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), &["a", "b"], APPLY).await.unwrap();
    assert_eq!((first.plan.create.len(), first.plan.change.len(), first.plan.delete.len()), (6, 0, 0));
    let written = files(folder.path());
    assert_eq!(written.keys().collect::<Vec<_>>(), ["routes-a.yaml", "routes-b.yaml"]);
    assert!(written.values().all(|text| read(text).unwrap().len() == 3), "{written:?}");
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(folder.path().join(name)).unwrap().ino()
    };
    let before = inode("routes-a.yaml");
    let second = run(folder.path(), &["a", "b"], APPLY).await.unwrap();
    assert!(second.plan.is_empty() && second.plan.same == 6);
    assert_eq!(inode("routes-a.yaml"), before, "it was not written again");
    let third = run(folder.path(), &["b"], APPLY).await.unwrap();
    assert_eq!(third.plan.delete.len(), 3);
    assert_eq!(files(folder.path()).keys().collect::<Vec<_>>(), ["routes-b.yaml"]);
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["a"], Task { dry_run: true, ..APPLY }).await.unwrap();
    assert!(files(folder.path()).is_empty());
    run(folder.path(), &["a"], APPLY).await.unwrap();
    let kept = run(folder.path(), &["b"], Task { prune: false, ..APPLY }).await.unwrap();
    assert_eq!((kept.plan.create.len(), kept.left), (3, 3));
    assert_eq!(files(folder.path()).len(), 2);
    let pruned = run(folder.path(), &["b", "c"], Task { apply: false, ..APPLY }).await.unwrap();
    assert_eq!((pruned.plan.create.len(), pruned.plan.delete.len()), (0, 3));
    assert_eq!(files(folder.path()).keys().collect::<Vec<_>>(), ["routes-b.yaml"]);
}

#[tokio::test]
async fn files_that_are_not_ours_are_neither_read_nor_written_nor_removed() {
    let folder = tempfile::tempdir().unwrap();
    let own = BTreeMap::from([
        ("gateway.yaml".to_owned(), "kind: {".to_owned()),
        ("routes-mine.yaml".to_owned(), "# by hand\n".to_owned()),
        ("routes.yaml".to_owned(), "# by hand\n".to_owned()),
    ]);
    for (name, text) in &own {
        fs::write(folder.path().join(name), text).unwrap();
    }
    run(folder.path(), &["a"], APPLY).await.unwrap();
    run(folder.path(), &[], APPLY).await.unwrap();
    assert_eq!(files(folder.path()), own);
    // One stands where ours belongs: then nothing at all is written.
    let refused = run(folder.path(), &["a", "mine"], APPLY).await.unwrap_err();
    assert!(
        matches!(&refused, SinkError::ForeignFile(path) if path.ends_with("routes-mine.yaml")),
        "{refused}"
    );
    assert_eq!(files(folder.path()), own);
    let forced = Folder::new(folder.path(), true);
    reconcile(&forced, &routes(&["a", "mine"]), APPLY).await.unwrap();
    assert_eq!(files(folder.path()).len(), 4);
}

#[tokio::test]
async fn what_somebody_spoils_or_leaves_half_done_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["a", "b", "c"], APPLY).await.unwrap();
    let good = files(folder.path());
    let path = |name: &str| folder.path().join(name);
    let half = &good["routes-a.yaml"][..good["routes-a.yaml"].len() / 2];
    fs::write(path("routes-a.yaml"), half).unwrap();
    let edited = good["routes-b.yaml"].replace("cluster: b", "cluster: ../../b").replace("60s", "0s");
    assert_ne!(edited, good["routes-b.yaml"]);
    fs::write(path("routes-b.yaml"), edited).unwrap();
    fs::remove_file(path("routes-c.yaml")).unwrap();
    fs::write(path(".portcullis-routes-x1.tmp"), "half a").unwrap();
    let report = run(folder.path(), &["a", "b", "c"], APPLY).await.unwrap();
    assert!(report.plan.create.len() >= 3 && report.plan.change.len() >= 3, "{:?}", report.plan);
    assert_eq!(files(folder.path()), good);
}

/// A folder in which nothing can be made: what is there stays as it was.
#[tokio::test]
async fn where_nothing_can_be_written_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("not-there");
    let said = run(&missing, &["a"], APPLY).await.unwrap_err().to_string();
    assert!(said.contains("not-there"), "{said}");
    run(folder.path(), &["a"], APPLY).await.unwrap();
    let before = files(folder.path());
    fs::create_dir(folder.path().join("routes-b.yaml")).unwrap();
    let said = run(folder.path(), &["b"], APPLY).await.unwrap_err();
    assert!(matches!(said, SinkError::ForeignFile(_)), "{said}");
    fs::remove_dir(folder.path().join("routes-b.yaml")).unwrap();
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn one_run_writes_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["a"], APPLY).await.unwrap();
    let lock = fs::File::open(folder.path().join(".portcullis-routes.lock")).unwrap();
    lock.lock().unwrap();
    let said = run(folder.path(), &["a"], APPLY).await.unwrap_err();
    assert!(matches!(said, SinkError::Busy(_)), "{said}");
    drop(lock);
    run(folder.path(), &["a"], APPLY).await.unwrap();
}
