//! Where the keys come from that seal the service's secrets.

use std::fmt;
use std::path::PathBuf;

/// Where the sealing keys come from. Either way they are one a line, each 32 bytes in hexadecimal; the first one seals,
/// the others open what they sealed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealingKeySource {
    /// A file of this service's own.
    File(PathBuf),
    /// What a program prints: the way to a key management service.
    Command(KeyCommand),
}

/// A program that prints the sealing keys.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyCommand {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments, as they are.
    pub arguments: Vec<String>,
}

impl fmt::Debug for KeyCommand {
    /// Without the arguments: they should hold no secret, but nobody checks that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCommand").field("program", &self.program).finish_non_exhaustive()
    }
}

impl fmt::Display for SealingKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Command(command) => write!(f, "of the command {}", command.program.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_command_are_not_printed() {
        let (program, arguments) = (PathBuf::from("/bin/kms"), vec!["hunter2".to_owned()]);
        let source = SealingKeySource::Command(KeyCommand { program, arguments });
        assert_eq!(source.to_string(), "of the command /bin/kms");
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
