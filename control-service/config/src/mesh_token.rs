//! The secret that the service shares with the filters. Only its digest is kept.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use portcullis_control_domain::text_file;
use sha2::{Digest, Sha256};

use crate::section::Section;

pub(crate) fn read(folder: &Path, mesh: &mut Section<'_>) -> Option<[u8; 32]> {
    let file = mesh.optional::<PathBuf>("tokenFile");
    let variable = mesh.optional::<String>("tokenEnv");
    let (field, text) = match (file, variable) {
        (Some(file), None) => {
            let path = folder.join(file);
            let text = text_file::read(&path)
                .map_err(|e| mesh.error("tokenFile", format!("cannot read {}: {e}", path.display())));
            ("tokenFile", text.ok()?)
        }
        (None, Some(name)) => {
            let text = std::env::var(&name)
                .map_err(|_| mesh.error("tokenEnv", format!("the environment has no variable {name}")));
            ("tokenEnv", text.ok()?)
        }
        _ => {
            mesh.error("tokenFile", "give either tokenFile or tokenEnv: the secret shared with the filters");
            return None;
        }
    };
    let token = text.trim_end_matches(['\r', '\n']);
    let problem = if !(16..=512).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        "the token must be 16 to 512 visible ASCII characters"
    } else if is_placeholder(token) {
        "this is a placeholder, which everybody knows, and no secret"
    } else {
        return Some(Sha256::digest(token.as_bytes()).into());
    };
    let make =
        "make one (openssl rand -hex 24), and give the filters the same one (vmConfig.env of the plugins)";
    mesh.error(field, format!("{problem}; {make}"));
    None
}

/// Whether a token stands in an example so that somebody replaces it.
fn is_placeholder(token: &str) -> bool {
    let letters: String = token.chars().filter(char::is_ascii_alphabetic).collect();
    let letters = letters.to_ascii_lowercase();
    let words = ["changeme", "replaceme", "placeholder", "yourtoken", "yoursecret"];
    let several: HashSet<u8> = token.bytes().collect();
    words.iter().any(|word| letters.contains(word)) || token.starts_with('<') || several.len() < 4
}
