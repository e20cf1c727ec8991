//! Blocks of headers as a proxy hands them over: whatever the bytes, no panic and nothing hidden.

use portcullis_engine::head::headers::{Headers, MalformedHeaders};
use proptest::collection::vec;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..40))
}

/// The wire form, written down a second time so that reader and writer do not agree by accident.
fn serialise(headers: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = (headers.len() as u32).to_le_bytes().to_vec();
    for (name, value) in headers {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in headers {
        bytes.extend(name);
        bytes.push(0);
        bytes.extend(value);
        bytes.push(0);
    }
    bytes
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(pairs) = Headers::parse(bytes) {
            prop_assert_eq!(pairs.iter().count(), pairs.len());
        }
    }

    #[test]
    fn every_header_is_read_as_it_was_written(headers in vec(header(), 0..20)) {
        let pairs = Headers::parse(serialise(&headers)).unwrap();
        let read: Vec<_> = pairs.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        prop_assert_eq!(&read, &headers);
        prop_assert_eq!(pairs.len(), headers.len());

        let slices: Vec<_> = headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        let written = Headers::from_pairs(&slices).unwrap();
        prop_assert!(written.iter().eq(pairs.iter()));
    }

    #[test]
    fn a_map_cut_short_is_refused(headers in vec(header(), 1..10), keep in 0.0..1.0f64) {
        let mut bytes = serialise(&headers);
        // An empty buffer is an empty map, so at least one byte is kept.
        bytes.truncate(1 + ((bytes.len() - 2) as f64 * keep) as usize);
        prop_assert_eq!(Headers::parse(bytes), Err(MalformedHeaders));
    }

    #[test]
    fn a_changed_length_is_refused_or_read_whole(
        headers in vec(header(), 1..10),
        at in any::<prop::sample::Index>(),
        to: u8,
    ) {
        let mut bytes = serialise(&headers);
        let lengths = 4 + 8 * headers.len();
        bytes[at.index(lengths)] = to;
        if let Ok(pairs) = Headers::parse(bytes) {
            prop_assert_eq!(pairs.iter().count(), pairs.len());
        }
    }
}

#[test]
fn lengths_that_overflow_are_refused() {
    let huge = u32::MAX.to_le_bytes();
    for buffer in [
        huge.to_vec(),
        [1u32.to_le_bytes(), huge, huge].concat(),
        [2u32.to_le_bytes(), huge, huge, huge, huge].concat(),
    ] {
        assert_eq!(Headers::parse(buffer), Err(MalformedHeaders));
    }
}
