//! Bills of materials: what cargo compiled into a program is in them, and nothing else of its workspace.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{AMD64, ARM64, Written, module, origin, program};
use portcullis_images::{Bill, Compiled, Graph, ImageError, Module, Parts, control, filter};
use serde_json::Value;
use tempfile::TempDir;

/// A workspace of a program, and of crates that have to do with it in all the ways that there are.
const WORKSPACE: [(&str, &str, &str); 8] = [
    (
        "program",
        "src/main.rs",
        "build = \"build.rs\"\n\
         [dependencies]\nderive = { path = \"../derive\" }\nextra = { path = \"../extra\" }\n\
         used = { path = \"../used\", features = [\"on\"] }\n\
         [target.'cfg(windows)'.dependencies]\nelsewhere = { path = \"../elsewhere\" }\n\
         [dev-dependencies]\ntests = { path = \"../tests\" }\n\
         [build-dependencies]\nbuilding = { path = \"../building\" }\n",
    ),
    (
        "used",
        "src/lib.rs",
        "[dependencies]\nextra = { path = \"../extra\", optional = true }\n[features]\non = []\nmore = [\"dep:extra\"]\n",
    ),
    ("extra", "src/lib.rs", ""),
    ("derive", "src/lib.rs", "[lib]\nproc-macro = true\n"),
    ("elsewhere", "src/lib.rs", ""),
    ("tests", "src/lib.rs", ""),
    ("building", "src/lib.rs", ""),
    // Another member, for which the features of the whole workspace are more than those of the program.
    ("other", "src/lib.rs", "[dependencies]\nused = { path = \"../used\", features = [\"more\"] }\n"),
];

/// This machine, as rustc calls it.
fn host() -> String {
    let told = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).env_remove("CARGO_TARGET_DIR");
    cargo
}

/// The workspace, built, with the messages of its build in `messages`.
fn built() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, source, manifest) in WORKSPACE {
        let path = folder.path().join(name);
        fs::create_dir_all(path.join("src")).unwrap();
        let head = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2024\"\nlicense = \"MIT/Apache-2.0\"\n"
        );
        fs::write(path.join("Cargo.toml"), head + manifest).unwrap();
        fs::write(path.join(source), if source == "src/main.rs" { "fn main() {}" } else { "" }).unwrap();
    }
    fs::write(folder.path().join("program/build.rs"), "fn main() {}").unwrap();
    let members: Vec<_> = WORKSPACE.iter().map(|(name, ..)| *name).collect();
    fs::write(
        folder.path().join("Cargo.toml"),
        format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n"),
    )
    .unwrap();
    let told = cargo(folder.path())
        .args(["build", "--offline", "-p", "program", "--message-format", "json", "--target", &host()])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    fs::write(folder.path().join("messages"), told.stdout).unwrap();
    folder
}

fn messages(folder: &TempDir) -> Result<Compiled, ImageError> {
    Compiled::read(&folder.path().join("messages"))
}

fn bill(program: &str, workspace: &TempDir) -> Result<Value, ImageError> {
    let graph = Graph::ask(workspace.path(), &host())?;
    let parts = Parts::compiled(program, &messages(workspace)?, &graph, workspace.path())?;
    let folder = tempfile::tempdir().unwrap();
    let layout = filter(&Module::read(&module(folder.path())).unwrap(), &origin()).unwrap();
    let bill = Bill::new(&layout.images().next().unwrap(), parts, &origin())?;
    Ok(serde_json::from_slice(bill.content()).unwrap())
}

fn names(bill: &Value) -> BTreeSet<&str> {
    bill["components"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect()
}

#[test]
fn what_was_compiled_into_the_program_is_in_its_bill_and_nothing_else() {
    let workspace = built();
    let bill = bill("program", &workspace).unwrap();
    common::schema::hold_against_the_schema(&bill);
    assert_eq!(names(&bill), ["extra", "program", "rust-std", "used"].into());
    let used = bill["components"].as_array().unwrap().iter().find(|part| part["name"] == "used").unwrap();
    assert_eq!(used["version"], "1.2.3");
    assert_eq!(used["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert_eq!(used["properties"], serde_json::json!([{"name": "portcullis:feature", "value": "on"}]));
    assert!(used["purl"].is_null(), "it is in no registry: {used}");
    let uses: BTreeMap<_, _> = bill["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["ref"].as_str().unwrap(), one["dependsOn"].to_string()))
        .collect();
    assert_eq!(uses["image"], r#"["program@1.2.3","rust-std"]"#);
    assert_eq!(uses["program@1.2.3"], r#"["extra@1.2.3","used@1.2.3"]"#);
    // With a feature that the program does not have, it would.
    assert_eq!(uses["used@1.2.3"], "[]");
}

#[test]
fn a_build_that_failed_was_cut_off_or_was_another_has_no_bill() {
    let workspace = built();
    let refused = |text: &str, wanted: &str| {
        fs::write(workspace.path().join("messages"), text).unwrap();
        let told = bill("program", &workspace).unwrap_err().to_string();
        assert!(told.contains(wanted), "{told}");
    };
    let whole = fs::read_to_string(workspace.path().join("messages")).unwrap();
    let (cut, last) = whole.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(last, r#"{"reason":"build-finished","success":true}"#);
    refused(cut, "cut off");
    refused(&[cut, "\n", &last.replace("true", "false")].concat(), "did not succeed");
    refused(&[&whole[..whole.len() / 2], "\n", last].concat(), "no message of cargo's");
    refused(last, "nothing was compiled for");
    refused(&whole.replace("/used#1.2.3", "/used#1.2.4"), "/used#1.2.4 is not one of the crates");
    // One that is in the workspace, and not in this program.
    fs::write(workspace.path().join("messages"), whole).unwrap();
    assert!(
        bill("other", &workspace).unwrap_err().to_string().contains("other@1.2.3 is not one of the crates")
    );
}

/// That of this repository, of which two crates are said to have been compiled.
#[test]
fn a_crate_of_a_registry_is_named_as_scanners_know_it_with_the_digest_of_its_source() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let told = cargo(root).args(["metadata", "--locked", "--format-version", "1"]).output().unwrap();
    let metadata: Value = serde_json::from_slice(&told.stdout).unwrap();
    let package = |name: &str, version: &str| {
        let packages = metadata["packages"].as_array().unwrap().iter();
        let mut fitting = packages.filter(|one| {
            one["name"] == name && one["version"].as_str().is_some_and(|one| one.starts_with(version))
        });
        fitting.next().unwrap_or_else(|| panic!("no {name} {version}"))
    };
    let toml = package("toml", "0.9.");
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for id in [toml, package("portcullis-images", "")].map(|one| &one["id"]) {
        let message = serde_json::json!({
            "reason": "compiler-artifact", "package_id": id, "target": {"kind": ["lib"]}, "features": [],
            "filenames": ["/target/wasm32-wasip1/wasm/deps/lib.rlib"],
        });
        lines.push_str(&format!("{message}\n"));
    }
    lines.push_str(r#"{"reason":"build-finished","success":true}"#);
    fs::write(folder.path().join("messages"), lines).unwrap();
    let graph = Graph::ask(root, "wasm32-wasip1").unwrap();
    let parts = Parts::compiled("portcullis-images", &messages(&folder).unwrap(), &graph, root).unwrap();
    let layout = control(&[program(folder.path(), ARM64), program(folder.path(), AMD64)], &origin()).unwrap();
    let image = layout.images().nth(1).unwrap();
    let bill = Bill::new(&image, parts, &origin()).unwrap();
    let document: Value = serde_json::from_slice(bill.content()).unwrap();
    common::schema::hold_against_the_schema(&document);
    assert_eq!(names(&document), ["portcullis-images", "rust-std", "toml", "wasi-libc"].into());
    let part = document["components"].as_array().unwrap().iter().find(|part| part["name"] == "toml").unwrap();
    let version = toml["version"].as_str().unwrap();
    assert_eq!(part["purl"], format!("pkg:cargo/toml@{}", version.replace('+', "%2B")));
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let digest = part["hashes"][0]["content"].as_str().unwrap();
    assert!(lock.contains(&format!("name = \"toml\"\nversion = \"{version}\"\n")));
    assert!(lock.contains(&format!("checksum = \"{digest}\"\n")));
    // The image's own name is that of the one for this kind of machine.
    let purl = document["metadata"]["component"]["purl"].as_str().unwrap();
    assert!(purl.starts_with("pkg:oci/portcullis@sha256%3A") && purl.ends_with("?arch=arm64"), "{purl}");
}

#[test]
fn the_bill_is_an_artifact_that_a_registry_finds_by_the_image() {
    let workspace = built();
    let graph = Graph::ask(workspace.path(), &host()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let layout = control(&[program(folder.path(), ARM64), program(folder.path(), AMD64)], &origin()).unwrap();
    let place = folder.path().join("control");
    layout.write(&place).unwrap();
    let index = Written::at(&place).image().1;
    for (image, written) in layout.images().zip(index["manifests"].as_array().unwrap()) {
        let parts =
            Parts::compiled("program", &messages(&workspace).unwrap(), &graph, workspace.path()).unwrap();
        let bill = Bill::new(&image, parts, &origin()).unwrap();
        let machine = written["platform"]["architecture"].as_str().unwrap();
        assert_eq!(bill.write(&place).unwrap(), folder.path().join(format!("control.{machine}.cdx.json")));
        let artifact = Written::at(&folder.path().join(format!("control.{machine}.sbom")));
        let (descriptor, manifest) = artifact.image();
        assert_eq!(descriptor["digest"], bill.artifact().digest());
        assert_eq!(manifest["artifactType"], "application/vnd.cyclonedx+json");
        assert_eq!(manifest["subject"]["digest"], written["digest"]);
        assert_eq!(manifest["subject"]["size"], written["size"]);
        assert_eq!(artifact.blob(&manifest["layers"][0]), bill.content());
        assert_eq!(artifact.document(&manifest["config"]), serde_json::json!({}));
    }
    let read = |machine: &str| fs::read(folder.path().join(format!("control.{machine}.cdx.json"))).unwrap();
    // Each is that of its image.
    assert_ne!(read("amd64"), read("arm64"));
}
