//! What a cluster pulls, as OCI image layouts: the control service, and the filter in the form that Istio takes.
//!
//! A layout depends on nothing but what it is made of: the same programs, revision and time give the same digest, on
//! every machine. Beside each image goes a bill of what is in it.

mod bill;
mod control;
mod document;
mod error;
mod executable;
mod filter;
mod layer;
mod layout;
mod module;
mod origin;

pub use bill::{Bill, Compiled, Graph, Parts};
pub use control::control;
pub use document::Machine;
pub use error::ImageError;
pub use executable::Executable;
pub use filter::filter;
pub use layout::{Image, Layout};
pub use module::Module;
pub use origin::Origin;
