//! The programs of a Kubernetes API, and the definitions of custom resources.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Result;
use crate::tools::Tools;
use crate::{paths, tools};

/// The set of programs in `harness/tools` that has etcd, the API server and `kubectl`.
const SET: &str = "kubernetes";

/// The Istio whose definitions the API server has, and whose istiod reads from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Istio {
    /// That of `harness/tools`, on which everything else is tested.
    #[default]
    Pinned,
    /// The newest that can be had: that of `harness/tools/istio-next`.
    Next,
}

impl Istio {
    /// Its version, as proxies name it.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Pinned => "1.29.1",
            Self::Next => "1.31.0",
        }
    }

    /// The set of programs that has it, where it is not among those of every mesh.
    fn set(self) -> Option<&'static str> {
        (self == Self::Next).then_some("istio-next")
    }
}

impl FromStr for Istio {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let fits = |one: &Self| one.version().rsplit_once('.').is_some_and(|(minor, _)| minor == text);
        let known = [Self::Pinned, Self::Next];
        known
            .into_iter()
            .find(fits)
            .ok_or_else(|| format!("there is no Istio {text:?} here; write 1.29 or 1.31"))
    }
}

/// The programs, and the definitions of custom resources.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
    /// The programs of another Istio, whose definitions replace those that come with the others.
    istio: Option<PathBuf>,
}

impl Programs {
    /// Installs them where they are missing.
    ///
    /// # Errors
    /// As of [`tools::install_set`].
    pub fn install(istio: Istio, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let root = paths::root();
        let istio = istio.set().map(|set| tools::install_set(&root, set, progress)).transpose()?;
        let folder = tools::install_set(&root, SET, progress)?;
        Ok(Self { folder, istio })
    }

    /// Puts another Istio in the place of that of a mesh.
    pub(crate) fn take_place(&self, tools: &mut Tools) {
        if let Some(istio) = &self.istio {
            (tools.istiod, tools.istioctl) = (istio.join("pilot-discovery"), istio.join("istioctl"));
        }
    }

    /// One of them.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Folders of definitions, in the order in which they are given to the API server.
    pub(super) fn definitions(&self) -> Vec<PathBuf> {
        [&self.folder].into_iter().chain(&self.istio).map(|folder| tools::definitions(folder)).collect()
    }
}
