//! The loopback block of a command.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// A block, or none in particular.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice(pub(super) Option<u8>);

impl FromStr for Choice {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if text == "any" { Ok(Self(None)) } else { text.parse().map(|number| Self(Some(number))) }
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("any"),
        }
    }
}
