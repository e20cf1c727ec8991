//! A filter that proxies take.

use std::fs;
use std::path::{Path, PathBuf};

use wasmparser::{Parser, Payload};

use crate::error::ImageError;

/// What a filter's export begins with that names the version of the interface.
const INTERFACE: &str = "proxy_abi_version_";

/// A Proxy-Wasm module.
#[derive(Debug)]
pub struct Module {
    interface: String,
    content: Vec<u8>,
}

impl Module {
    /// Reads a module.
    ///
    /// # Errors
    /// When it cannot be read, or no proxy would take it.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let content = fs::read(path).map_err(ImageError::file(path))?;
        let refused = |why: String| ImageError::Program { path: PathBuf::from(path), why };
        let interface = interface(&content)
            .map_err(|error| refused(format!("this is no Wasm module: {error}")))?
            .ok_or_else(|| {
                refused(format!("this module exports no `{INTERFACE}…`: it is no Proxy-Wasm filter"))
            })?;
        Ok(Self { interface, content })
    }

    /// The version of Proxy-Wasm's interface that it speaks, such as 0.2.1.
    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }
}

fn interface(content: &[u8]) -> wasmparser::Result<Option<String>> {
    for payload in Parser::new(0).parse_all(content) {
        let Payload::ExportSection(exports) = payload? else { continue };
        for export in exports {
            if let Some(version) = export?.name.strip_prefix(INTERFACE) {
                return Ok(Some(version.replace('_', ".")));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_interface_is_what_the_module_exports() {
        let filter = wat::parse_str(r#"(module (func (export "proxy_abi_version_0_2_1")))"#).unwrap();
        assert_eq!(interface(&filter).unwrap().as_deref(), Some("0.2.1"));
        assert_eq!(interface(&wat::parse_str("(module)").unwrap()).unwrap(), None);
        assert!(interface(b"\x7fELF").is_err() && interface(&filter[..20]).is_err());
    }
}
