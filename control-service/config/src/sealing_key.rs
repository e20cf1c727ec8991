//! Where the sealing key comes from.

use std::path::{Path, PathBuf};

use portcullis_control_domain::sealing::{KeyCommand, SealingKeySource};

use super::section::Section;

/// Reads it: a file beside the database, unless something else is said. `None` only with errors noted.
pub(crate) fn read(
    folder: &Path,
    data_dir: Option<&Path>,
    store: &mut Section<'_>,
) -> Option<SealingKeySource> {
    let (has_file, has_command) = (store.has("sealingKeyFile"), store.has("sealingKeyCommand"));
    let file = store.optional::<PathBuf>("sealingKeyFile");
    let command = store.optional::<Vec<String>>("sealingKeyCommand");
    if has_file && has_command {
        let told = "give either sealingKeyFile or sealingKeyCommand: the key comes from one place";
        store.error("sealingKeyCommand", told);
        return None;
    }
    if !has_command {
        let file = file.map(|file| folder.join(file)).or_else(|| Some(data_dir?.join("sealing.key")));
        return file.map(SealingKeySource::File);
    }
    match command?.as_slice() {
        // No system can run a program with such a word.
        words if words.iter().any(|word| word.contains('\0')) => {
            store.error("sealingKeyCommand", "holds a zero byte; leave it out");
            None
        }
        [program, arguments @ ..] if !program.is_empty() => {
            // A name without a folder is looked up in PATH.
            let program = if program.contains('/') { folder.join(program) } else { program.into() };
            Some(SealingKeySource::Command(KeyCommand { program, arguments: arguments.to_vec() }))
        }
        _ => {
            let told = "begins with the program, then its arguments, each a text of its own: [/usr/local/bin/keys, \
                        --region, eu]";
            store.error("sealingKeyCommand", told);
            None
        }
    }
}
