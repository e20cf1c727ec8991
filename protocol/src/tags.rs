//! Numbers of fields, for who writes a message without filling it first. They are generated from the
//! `.proto` files, as the messages are.

include!(concat!(env!("OUT_DIR"), "/tags.rs"));
