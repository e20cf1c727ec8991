//! What is answered to everybody, without an identity: the closed list, and the metadata of the protected resource.

pub mod closed_list;
pub mod resource;
