//! Text files as operators' editors write them: some put a byte order mark before the text.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Reads a file without its byte order mark.
///
/// # Errors
/// What the system says, or that the file is UTF-16.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    without_mark(std::fs::read(path)?)
}

/// Reads a text.
///
/// # Errors
/// As for [`read_bytes`], and when it is not UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    text(read_bytes(path)?)
}

/// Reads a text of a file, or for `-` from standard input.
///
/// # Errors
/// As for [`read`].
pub fn read_named(path: &Path) -> io::Result<String> {
    if path == Path::new("-") { read_from(io::stdin(), u64::MAX) } else { read(path) }
}

/// The same from standard input or a file that is open, up to so many bytes.
///
/// # Errors
/// As for [`read`].
pub fn read_from(source: impl Read, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(most).read_to_end(&mut bytes)?;
    text(without_mark(bytes)?)
}

fn without_mark(mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is UTF-16; save it as UTF-8"));
    }
    if bytes.starts_with(UTF8_MARK) {
        bytes.drain(..UTF8_MARK.len());
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        for (bytes, expected) in [
            (&b"\xef\xbb\xbfa: 1"[..], Ok("a: 1")),
            (b"a: 1", Ok("a: 1")),
            (b"\xef\xbb\xbf", Ok("")),
            (b"a\xef\xbb\xbf", Ok("a\u{feff}")),
            (b"\xff\xfea\0", Err("UTF-16")),
            (b"\xfe\xff\0a", Err("UTF-16")),
            (b"\xff", Err("not UTF-8")),
        ] {
            let read = read_from(bytes, 100).map_err(|error| error.to_string());
            match expected {
                Ok(text) => assert_eq!(read.as_deref(), Ok(text), "{bytes:?}"),
                Err(part) => assert!(read.unwrap_err().contains(part), "{bytes:?}"),
            }
        }
    }
}
