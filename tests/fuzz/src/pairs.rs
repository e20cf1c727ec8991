//! A block of headers as a proxy hands it over: refused, or read whole, and nothing in it is hidden.

use portcullis_engine::head::Head;
use portcullis_engine::head::headers::Headers;

use crate::input::Input;

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    // Either the bytes as they are, or headers with lengths that fit, one of which is then another.
    let block = if input.flag() { input.rest().to_vec() } else { block(&mut input) };
    let Ok(headers) = Headers::parse(block.clone()) else { return };
    let read: Vec<(&[u8], &[u8])> = headers.iter().collect();
    assert_eq!(read.len(), headers.len());
    if !block.is_empty() {
        // Every byte is a length, a text or one of the NULs between them.
        let texts: usize = read.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        assert_eq!(4 + 8 * read.len() + texts, block.len());
    }
    let again = Headers::from_pairs(&read).expect("they fitted before");
    assert!(again.iter().eq(read.iter().copied()));
    let head = Head::read(&headers, "x-api-key");
    let there = |name: &[u8]| read.iter().any(|(known, _)| *known == name);
    assert_eq!(head.authorization.is_there(), there(b"authorization"));
    assert_eq!(head.api_key.is_there(), there(b"x-api-key"));
}

fn block(input: &mut Input<'_>) -> Vec<u8> {
    const NAMES: &[&str] =
        &["authorization", "x-api-key", ":path", ":method", "cookie", "x-portcullis-cluster"];
    let pairs: Vec<(String, &[u8])> =
        (0..input.byte() % 5).map(|_| (input.word(NAMES), input.bytes(32))).collect();
    let slices: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
    let mut block = Headers::from_pairs(&slices).expect("few and short").take_buffer();
    if input.flag() {
        let at = usize::from(input.byte()) % block.len();
        block[at] = input.byte();
    }
    block
}
