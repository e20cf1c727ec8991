//! The image of the control service that `make image` built, run as a cluster runs it: from the unpacked layout alone,
//! with nothing of this machine, as a user whom no system knows, in a file system that can only be read.
#![cfg(feature = "slow")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use portcullis_mesh::http::Request;
use portcullis_mesh::paths;
use portcullis_mesh::process::Process;
use portcullis_mesh::wait::{self, Seen};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// What stands for a container runtime, without root: a user namespace in which mounts can be made, and within it one
/// that knows the image's user alone. Nothing can be written to but what a pod has as a volume for data.
const RUNTIME: &str = r#"
set -e
root=$1 configuration=$2 data=$3 environment=$4 runner=$(command -v unshare)
shift 4
mount --bind "$root" "$root"
mount --bind "$configuration" "$root/etc/portcullis"
mount --bind "$data" "$root/var/lib/portcullis"
mount -o remount,bind,ro "$root"
mount -o remount,bind,ro "$root/etc/portcullis"
exec env -i $environment "$runner" --user --map-user=65532 --map-group=65532 --root="$root" --wd=/var/lib/portcullis "$@"
"#;

fn layout() -> PathBuf {
    paths::target().join("images/control")
}

fn document(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}: run `make image`", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn blob(descriptor: &Value) -> PathBuf {
    let hex = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    layout().join("blobs/sha256").join(hex)
}

/// What a runtime puts together: the file system of the image, and two volumes.
const VOLUMES: [&str; 3] = ["root", "configuration", "data"];

/// The image as a runtime has it: its file system in a folder, and how it is run.
struct Image {
    folder: TempDir,
    /// What its configuration says.
    run: Value,
}

impl Image {
    /// That for this kind of machine.
    fn unpack() -> Self {
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let index = document(&blob(&document(&layout().join("index.json"))["manifests"][0]));
        let images = index["manifests"].as_array().unwrap();
        let image = images.iter().find(|image| image["platform"]["architecture"] == machine).unwrap();
        let manifest = document(&blob(image));
        let folder = tempfile::tempdir().unwrap();
        for name in VOLUMES {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let root = folder.path().join("root");
        for layer in manifest["layers"].as_array().unwrap() {
            tar::Archive::new(GzDecoder::new(fs::File::open(blob(layer)).unwrap())).unpack(&root).unwrap();
        }
        // A runtime makes the places where volumes go.
        fs::create_dir(root.join("etc/portcullis")).unwrap();
        Self { folder, run: document(&blob(&manifest["config"]))["config"].clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn texts(&self, member: &str) -> Vec<String> {
        serde_json::from_value(self.run[member].clone()).unwrap()
    }

    /// Its program, with the environment that the image has and no other.
    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "--kill-child", "/bin/sh", "-c", RUNTIME, "sh"])
            .args(VOLUMES.map(|name| self.path(name)))
            .arg(self.texts("Env").join(" "))
            .args(self.texts("Entrypoint"))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }
}

/// A configuration with three listeners that are free.
fn configure(folder: &Path) -> SocketAddr {
    let taken = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [mesh, platform, operations] = taken.each_ref().map(|listener| listener.local_addr().unwrap());
    let text = format!(
        "listeners: {{mesh: {mesh}, platform: {platform}, operations: {operations}}}\n\
         store: {{dataDir: /var/lib/portcullis}}\n\
         mesh:\n  tokenFile: mesh-token\n  gateways: [spiffe://cluster.local/ns/istio-system/sa/ingressgateway]\n\
         identity: {{issuer: https://portcullis.example.com/identity}}\n"
    );
    fs::write(folder.join("control.yaml"), text).unwrap();
    fs::write(folder.join("mesh-token"), "0123456789abcdef0123456789abcdef").unwrap();
    operations
}

/// The commit of this source tree.
async fn commit() -> String {
    let mut git = Command::new("git");
    let told = git.args(["rev-parse", "HEAD"]).current_dir(paths::root()).output().await.unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_program_of_the_image_starts_with_nothing_beside_it() {
    let image = Image::unpack();
    let revision = image.run["Labels"]["org.opencontainers.image.revision"].as_str().unwrap();
    assert!(revision.starts_with(&commit().await), "the image is of {revision}: run `make image`");
    let told = image.command(&["--version".to_owned()]).output().await.unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let version = ["portcullis ", env!("CARGO_PKG_VERSION"), "\n"].concat();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), version);
}

#[tokio::test]
async fn the_image_serves_as_nobody_in_a_file_system_that_can_only_be_read() {
    let image = Image::unpack();
    assert_eq!(image.run["User"], "65532:65532");
    let operations = configure(&image.path("configuration"));
    let log = image.path("log");
    let mut process = Process::start("the image", image.command(&image.texts("Cmd")), &log).unwrap();
    let ready = Request::get(operations, "/readyz");
    wait::until("the image's readiness", &log, async || {
        process.check()?;
        Ok(match ready.send().await {
            Ok(answer) if answer.status == 200 => Seen::Done(()),
            Ok(answer) => Seen::NotYet(answer.text()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
    assert!(fs::read_dir(image.path("data")).unwrap().count() > 0, "it has its data where the volume is");
    process.kill().await;
}
