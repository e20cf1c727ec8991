//! The layouts, as whoever pulls them reads them.

mod common;

use std::fs;
use std::io::Read as _;
use std::path::Path;

use common::{AMD64, ARM64, Written, module, origin, program, sha256};
use flate2::read::GzDecoder;
use portcullis_images::{ImageError, Layout, Module, control, filter};

fn both(folder: &Path) -> Layout {
    control(&[program(folder, ARM64), program(folder, AMD64)], &origin()).unwrap()
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
    control.write(second.path()).unwrap();
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
