//! The layouts, as whoever pulls them reads them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use portcullis_images::{Executable, ImageError, Layout, Module, Origin, control, filter};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const AMD64: u16 = 62;
const ARM64: u16 = 183;

/// The header of a static program for a kind of machine: all that an image asks of it.
fn program(folder: &Path, machine: u16) -> Executable {
    let mut elf = vec![0u8; 64];
    elf[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    for (at, value) in [(16, 2), (18, machine), (20, 1), (52, 64), (54, 56), (58, 64)] {
        elf[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    let path = folder.join(machine.to_string());
    fs::write(&path, elf).unwrap();
    Executable::read(&path).unwrap()
}

fn module(folder: &Path) -> PathBuf {
    let path = folder.join("filter.wasm");
    fs::write(&path, wat::parse_str(r#"(module (func (export "proxy_abi_version_0_2_1")))"#).unwrap())
        .unwrap();
    path
}

fn origin() -> Origin {
    Origin::new("0123abcd", 1_790_000_000).unwrap()
}

fn both(folder: &Path) -> Layout {
    control(&[program(folder, ARM64), program(folder, AMD64)], &origin()).unwrap()
}

/// A layout on disk.
struct Written(TempDir);

impl Written {
    fn new(layout: &Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        layout.write(&folder.path().join("layout")).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("layout")
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for folder in ["", "blobs/sha256"] {
            for entry in fs::read_dir(self.path().join(folder)).unwrap().map(Result::unwrap) {
                if entry.path().is_file() {
                    files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
                }
            }
        }
        files
    }

    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let hex = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = fs::read(self.path().join("blobs/sha256").join(hex)).unwrap();
        assert_eq!(descriptor["size"], content.len());
        assert_eq!(sha256(&content), hex);
        content
    }

    fn document(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&self.blob(descriptor)).unwrap()
    }

    /// The one image, or index of images.
    fn image(&self) -> (Value, Value) {
        let marker: Value =
            serde_json::from_slice(&fs::read(self.path().join("oci-layout")).unwrap()).unwrap();
        assert_eq!(marker["imageLayoutVersion"], "1.0.0");
        let index: Value =
            serde_json::from_slice(&fs::read(self.path().join("index.json")).unwrap()).unwrap();
        let descriptor = index["manifests"][0].clone();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        let document = self.document(&descriptor);
        (descriptor, document)
    }
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn two_builds_are_the_same_to_the_byte_whatever_was_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        || (both(folder.path()), filter(&Module::read(&module(folder.path())).unwrap(), &origin()).unwrap());
    let ((one_control, one_filter), (control, filter)) = (made(), made());
    assert_eq!((one_control.digest(), one_filter.digest()), (control.digest(), filter.digest()));
    let (first, second) = (Written::new(&one_control), Written::new(&one_filter));
    // The second is written over the layout of the other image.
    control.write(&second.path()).unwrap();
    assert_eq!(first.files(), second.files());
    assert!(!second.files().contains_key(&filter.digest()["sha256:".len()..]));
}

#[test]
fn the_filter_is_the_module_as_it_is_in_the_form_that_istio_pulls() {
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path());
    let layout = filter(&Module::read(&module).unwrap(), &origin()).unwrap();
    let written = Written::new(&layout);
    let (descriptor, manifest) = written.image();
    assert_eq!(descriptor["digest"], layout.digest());
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    let [config, content] = [&layers[0], &layers[1]];
    assert_eq!(config["mediaType"], "application/vnd.module.wasm.config.v1+json");
    assert_eq!(written.document(config)["abiVersions"][0], "0.2.1");
    assert_eq!(content["mediaType"], "application/vnd.module.wasm.content.layer.v1+wasm");
    assert_eq!(written.blob(content), fs::read(module).unwrap());
    assert_eq!(manifest["annotations"]["org.opencontainers.image.revision"], "0123abcd");
}

#[test]
fn each_kind_of_machine_has_an_image_that_runs_as_nobody_whom_the_system_knows() {
    let folder = tempfile::tempdir().unwrap();
    let written = Written::new(&both(folder.path()));
    let (_, index) = written.image();
    let images = index["manifests"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for (image, machine) in images.iter().zip(["amd64", "arm64"]) {
        assert_eq!(image["platform"], serde_json::json!({"architecture": machine, "os": "linux"}));
        let manifest = written.document(image);
        let configuration = written.document(&manifest["config"]);
        assert_eq!(configuration["architecture"], machine);
        let run = &configuration["config"];
        assert_eq!(
            (&run["User"], &run["Entrypoint"][0]),
            (&"65532:65532".into(), &"/usr/bin/portcullis".into())
        );
        assert_eq!(run["Labels"]["org.opencontainers.image.created"], "2026-09-21T14:13:20Z");
        assert_eq!(run["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0");
        let mut archive = Vec::new();
        GzDecoder::new(written.blob(&manifest["layers"][0]).as_slice()).read_to_end(&mut archive).unwrap();
        assert_eq!(configuration["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&archive)));
    }
    let twice = control(&[program(folder.path(), AMD64), program(folder.path(), AMD64)], &origin());
    assert!(matches!(twice, Err(ImageError::Twice(_))));
}

#[test]
fn who_runs_the_program_can_change_its_data_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let written = Written::new(&control(&[program(folder.path(), AMD64)], &origin()).unwrap());
    let (_, index) = written.image();
    let layer = written.blob(&written.document(&index["manifests"][0])["layers"][0]);
    let mut archive = tar::Archive::new(GzDecoder::new(layer.as_slice()));
    let mut writable = Vec::new();
    let mut authorities = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (path, header) = (entry.path().unwrap().into_owned(), entry.header().clone());
        let (mode, owner) = (header.mode().unwrap(), header.uid().unwrap());
        assert_eq!(header.mtime().unwrap(), 1_790_000_000, "{path:?}");
        if owner != 0 || mode & 0o022 != 0 {
            writable.push(path.to_str().unwrap().to_owned());
        }
        if path.ends_with("ca-certificates.crt") {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            authorities = text.matches("-----BEGIN CERTIFICATE-----\n").count();
            assert!(text.lines().all(|line| line.len() <= 64));
        }
    }
    assert_eq!(writable, ["var/lib/portcullis/", "tmp/"]);
    assert_eq!(authorities, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
}
