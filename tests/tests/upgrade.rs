//! From release 0.1 to this tree and back, under traffic, on the real istiod and Envoys. The module and the rendered
//! overlay of the release are fixtures; the control service is that of this tree all the time, which is how an update
//! begins.
#![cfg(feature = "slow")]

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims, now_s};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, FOREIGN, HOSTED, Mesh, ONPREM, Options, TENANT, paths};
use serde_json::json;
use tokio::task::JoinHandle;

/// How many answers there must be of each kind of request before and after a change.
const ANSWERS: usize = 40;

/// What a proxy runs of a release.
struct Release {
    module: PathBuf,
    manifests: PathBuf,
}

impl Release {
    fn of_0_1(folder: &Path) -> Self {
        let fixture = paths::root().join("tests/fixtures/0.1");
        let packed = fs::read(fixture.join("portcullis.wasm.gz")).unwrap();
        let mut module = Vec::new();
        GzDecoder::new(packed.as_slice()).read_to_end(&mut module).unwrap();
        let path = folder.join("portcullis-0.1.wasm");
        fs::write(&path, module).unwrap();
        Self { module: path, manifests: fixture.join("istio-manifests") }
    }

    fn of_this_tree(folder: &Path) -> Self {
        // A copy: by another name, so that Envoy takes it for another module even where nothing has changed.
        let path = folder.join("portcullis-next.wasm");
        fs::copy(paths::wasm_module(), &path).unwrap();
        Self { module: path, manifests: paths::root().join("istio-manifests") }
    }
}

/// One kind of request, sent again and again.
struct Stream {
    answers: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Requests of several kinds, and each answer that was not what it should be.
struct Traffic {
    streams: Vec<Stream>,
    ended: Arc<AtomicBool>,
    surprises: Arc<Mutex<Vec<String>>>,
}

impl Traffic {
    fn start(requests: Vec<(Request, u16, &'static str)>) -> Self {
        let (ended, surprises) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let streams = requests.into_iter().map(|(request, status, reason)| {
            let answers = Arc::new(AtomicUsize::new(0));
            let (ended, surprises, counted) = (ended.clone(), surprises.clone(), answers.clone());
            let task = tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    let seen = match request.send().await {
                        Ok(answer) => (answer.status, answer.header("x-portcullis-reason").to_owned()),
                        Err(error) => (0, error.to_string()),
                    };
                    if seen != (status, reason.to_owned()) {
                        surprises.lock().unwrap().push(format!("{seen:?} instead of {status} {reason}"));
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
            Stream { answers, task }
        });
        let streams = streams.collect();
        Self { streams, ended, surprises }
    }

    /// Waits until each kind of request was answered so many times more.
    async fn flow(&self, mesh: &Mesh) {
        let begun: Vec<usize> = self.counts();
        wait::until("answers", &mesh.log("ingressgateway"), async || {
            let now = self.counts();
            let enough = begun.iter().zip(&now).all(|(begun, now)| now - begun >= ANSWERS);
            Ok(if enough { Seen::Done(()) } else { Seen::NotYet(format!("{now:?}")) })
        })
        .await
        .unwrap();
    }

    fn counts(&self) -> Vec<usize> {
        self.streams.iter().map(|stream| stream.answers.load(Ordering::Relaxed)).collect()
    }

    async fn end(self) -> Vec<String> {
        self.ended.store(true, Ordering::Relaxed);
        for stream in self.streams {
            stream.task.await.unwrap();
        }
        std::mem::take(&mut self.surprises.lock().unwrap())
    }
}

/// What people and strangers ask for, with what each has to get before, during and after an update.
fn requests(mesh: &Mesh) -> Vec<(Request, u16, &'static str)> {
    let extra = json!({"client_id": CLIENT_PEOPLE, "exp": now_s() + 3000});
    let token = mesh.idp().sign(Algorithm::Es256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    let to = |cluster| mesh.get("/tables").header(SELECTOR, cluster);
    vec![
        (to(HOSTED).bearer(&token), 200, ""),
        (to(ONPREM).bearer(&token), 200, ""),
        (to(HOSTED), 401, "credential_missing"),
        (to(FOREIGN).bearer(&token), 404, "cluster_unknown"),
        (to(HOSTED).bearer(&token).header("x-api-key", "another credential"), 400, "credential_ambiguous"),
    ]
}

/// Has the mesh run a release, and makes sure that the gateway does.
async fn run(mesh: &mut Mesh, release: &Release) {
    mesh.replace_module(release.module.clone());
    mesh.change_manifests(&release.manifests, None).await.unwrap();
    let dump =
        Request::get(mesh.plan().ingress_admin(), "/config_dump?resource=ecds_filters").send().await.unwrap();
    assert!(dump.text().contains(release.module.to_str().unwrap()), "{}", dump.text());
}

#[tokio::test]
async fn an_update_from_0_1_and_the_way_back_refuse_nothing_that_was_let_through() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Release::of_0_1(folder.path()), Release::of_this_tree(folder.path()));
    let options = Options {
        module: Some(old.module.clone()),
        manifests: Some(old.manifests.clone()),
        ..Options::default()
    };
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let traffic = Traffic::start(requests(&mesh));
    traffic.flow(&mesh).await;
    run(&mut mesh, &new).await;
    traffic.flow(&mesh).await;
    run(&mut mesh, &old).await;
    traffic.flow(&mesh).await;
    let surprises = traffic.end().await;
    assert!(
        surprises.is_empty(),
        "{} answers: {:#?}",
        surprises.len(),
        &surprises[..surprises.len().min(20)]
    );
    mesh.stop().await;
}
