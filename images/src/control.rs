//! The image of the control service: one static program, the authorities that it trusts, and a folder for its data.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::document::{
    Configuration, Descriptor, Empty, Index, Labels, Machine, Manifest, Platform, RootFs, Run, media_type,
};
use crate::error::ImageError;
use crate::executable::Executable;
use crate::layer::{Files, Layer, Owner, ROOT};
use crate::layout::{Blobs, Layout};
use crate::origin::Origin;

const TITLE: &str = "portcullis";

/// Who runs it: nobody whom a system knows. A number, so that Kubernetes can tell that it is not root.
const USER: u32 = 65532;

/// Where its data is: the one place that it writes to, besides `/tmp`.
const DATA: &str = "var/lib/portcullis";

/// The image of the control service for each kind of machine that there is a program for.
///
/// # Errors
/// When two programs are for the same kind of machine.
pub fn control(programs: &[Executable], origin: &Origin) -> Result<Layout, ImageError> {
    let mut blobs = Blobs::default();
    let mut images: BTreeMap<Machine, Descriptor> = BTreeMap::new();
    for program in programs {
        let image = image(&mut blobs, program, origin)?;
        if images.insert(program.machine(), image).is_some() {
            return Err(ImageError::Twice(program.machine()));
        }
    }
    let images: Vec<_> = images.into_values().collect();
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX,
        manifests: images.clone(),
        annotations: labels(origin),
    };
    let index = blobs.document(media_type::INDEX, &index)?;
    Ok(Layout::new(blobs, TITLE, index, images))
}

fn labels(origin: &Origin) -> Labels {
    origin.labels(TITLE, "The control service of Portcullis, and the commands of its operators")
}

/// Adds the image for one kind of machine.
fn image(blobs: &mut Blobs, program: &Executable, origin: &Origin) -> Result<Descriptor, ImageError> {
    let platform = Platform { architecture: program.machine(), os: "linux" };
    let Layer { compressed, diff_id } = files(program, origin)?;
    let layer = blobs.add(media_type::LAYER, compressed);
    let configuration = Configuration {
        created: origin.created().to_owned(),
        platform: platform.clone(),
        config: Run {
            user: format!("{USER}:{USER}"),
            entrypoint: ["/usr/bin/portcullis"],
            cmd: ["serve", "--config", "/etc/portcullis/control.yaml"],
            env: ["PATH=/usr/bin"],
            exposed_ports: ["9700/tcp", "9701/tcp", "9702/tcp"].map(|port| (port, Empty {})).into(),
            working_dir: ["/", DATA].concat(),
            labels: labels(origin),
        },
        rootfs: RootFs { kind: "layers", diff_ids: [diff_id] },
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST,
        config: blobs.document(media_type::CONFIGURATION, &configuration)?,
        layers: vec![layer],
        artifact_type: None,
        subject: None,
        annotations: labels(origin),
    };
    let image = blobs.document(media_type::MANIFEST, &manifest)?;
    Ok(Descriptor { platform: Some(platform), ..image })
}

fn files(program: &Executable, origin: &Origin) -> Result<Layer, ImageError> {
    let mut files = Files::new(origin.seconds());
    for folder in [
        "etc",
        "etc/ssl",
        "etc/ssl/certs",
        "usr",
        "usr/bin",
        "usr/share",
        "usr/share/portcullis",
        "var",
        "var/lib",
    ] {
        files.folder(folder, ROOT, 0o755)?;
    }
    files.folder(DATA, Owner(USER), 0o700)?;
    files.folder("tmp", ROOT, 0o1777)?;
    // Where TLS clients look for it.
    files.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities().as_bytes())?;
    files.file("usr/share/portcullis/LICENSE", 0o644, include_bytes!("../../LICENSE"))?;
    files.file("usr/bin/portcullis", 0o755, program.content())?;
    files.layer()
}

/// The authorities that Mozilla trusts, as PEM. They are pinned with the crate that has them; those of the machine that
/// builds would make an image of that machine's.
fn authorities() -> String {
    let mut pem = String::new();
    for authority in TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut text = STANDARD.encode(authority).into_bytes().into_iter().map(char::from).peekable();
        while text.peek().is_some() {
            pem.extend(text.by_ref().take(64));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}
