//! What is let through or answered without an identity: the closed list, the hosts of the platform itself, and the
//! metadata of the protected resource.

pub mod closed_list;
pub mod platform_host;
pub mod resource;
