//! The identity token: its names and its bounds.

/// `typ` of an identity token. Apart from every token that clients present.
pub const TOKEN_TYPE: &str = "portcullis-identity+jwt";

/// The header that carries an identity token.
pub const HEADER: &str = "x-portcullis-identity";

/// The longest that an identity token may live, in seconds.
pub const MAX_LIFETIME_S: u32 = 60;

/// The longest identity token that is read, in bytes.
pub const MAX_TOKEN_LEN: usize = 8192;

/// The longest chain of actors, in any token: a longer one is refused.
pub const MAX_ACTORS: usize = 8;
