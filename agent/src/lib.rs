//! The agent of a data cluster. It dials out and waits on no port that the platform could reach: it joins by a token, keeps its
//! certificate, the keys that identity tokens are verified by and the tunnel, and tells in plain words what is wrong.

pub mod accesses;
mod backoff;
pub mod call;
pub mod certificate;
pub mod configuration;
pub mod connect;
pub mod credential;
pub mod doctor;
pub mod folder;
pub mod join;
mod plain;
pub mod run;
pub mod state;
pub mod tunnel;
