//! Standard output, whose reader may have enough: `inspect … | head`.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stdout};

/// The exit code of a program whose reader went away, as a shell shows it: 128 and SIGPIPE.
const NO_READER: i32 = 128 + 13;

/// Prints a line. Ends the program, quietly, when nobody reads any more.
pub(crate) fn line(text: Arguments<'_>) {
    if let Err(error) = writeln!(stdout(), "{text}") {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: cannot write to standard output: {error}");
        }
        std::process::exit(NO_READER);
    }
}

/// Prints a line, as `println!` does.
macro_rules! say {
    ($($part:tt)*) => { $crate::out::line(format_args!($($part)*)) };
}
pub(crate) use say;
