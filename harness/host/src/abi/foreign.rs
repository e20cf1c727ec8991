//! Envoy's foreign functions.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::cx::{Cx, Done};
use super::signatures;
use crate::codes::Status;
use crate::world::Arg;

/// The most that `uncompress` unpacks.
const MAX_UNPACKED: u64 = 1 << 28;

#[derive(prost::Message)]
struct SetFilterState {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(int32, tag = "3")]
    span: i32,
}

pub(super) fn call(
    cx: &mut Cx<'_, '_>,
    name: u32,
    len: u32,
    arguments: u32,
    arguments_size: u32,
    results: u32,
    results_size: u32,
) -> Done {
    let name = cx.read_text(name, len)?;
    let arguments = cx.read(arguments, arguments_size)?;
    cx.argument(Arg::Name(&name));
    cx.argument(Arg::Bytes(&arguments));
    let result = match name.as_str() {
        "verify_signature" => Some(signatures::verify(&arguments)?),
        "compress" => Some(compress(&arguments)?),
        "uncompress" => Some(uncompress(&arguments, MAX_UNPACKED)?),
        "clear_route_cache" => {
            if let Some((stream, _)) = &cx.state().context()?.stream {
                stream.lock().forget_route();
            }
            None
        }
        "set_envoy_filter_state" => {
            set_filter_state(cx, &arguments)?;
            None
        }
        _ => return Err(Status::NotFound.into()),
    };
    let bytes = result.unwrap_or_default();
    cx.result(Arg::Bytes(&bytes));
    if results != 0 && results_size != 0 { cx.give(&bytes, results, results_size) } else { Ok(()) }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).map_err(|_| Status::SerializationFailure)?;
    encoder.finish().map_err(|_| Status::SerializationFailure)
}

fn uncompress(bytes: &[u8], most: u64) -> Result<Vec<u8>, Status> {
    let mut unpacked = Vec::new();
    let mut decoder = ZlibDecoder::new(bytes).take(most + 1);
    let size = decoder.read_to_end(&mut unpacked).map_err(|_| Status::SerializationFailure)?;
    if size as u64 > most { Err(Status::SerializationFailure) } else { Ok(unpacked) }
}

/// Names for which Envoy has a factory, as far as plugins use them.
const FILTER_STATES: &[&str] = &[
    "envoy.network.application_protocols",
    "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names",
    "envoy.ratelimit.hits_addend",
    "envoy.string",
    "envoy.tcp_proxy.cluster",
    "envoy.upstream.dynamic_host",
    "envoy.upstream.dynamic_port",
    "io.istio.peer_principal",
    "io.istio.local_principal",
];

fn set_filter_state(cx: &Cx<'_, '_>, arguments: &[u8]) -> Result<(), Status> {
    let arguments = <SetFilterState as prost::Message>::decode(arguments).map_err(|_| Status::BadArgument)?;
    if !FILTER_STATES.contains(&arguments.path.as_str()) {
        return Err(Status::NotFound);
    }
    let Some((stream, _)) = &cx.state().context()?.stream else { return Err(Status::NotFound) };
    stream.lock().filter_state.insert(arguments.path.into_bytes(), arguments.value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that hardly compress.
    fn noise(size: usize) -> Vec<u8> {
        let mut random = crate::world::Random::new(1);
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_compressed_is_restored() {
        let text = b"abcabcabd-abcabdabe-".repeat(20);
        for bytes in [Vec::new(), vec![0], text.clone(), vec![b'x'; 5 << 20], noise(1 << 20)] {
            let packed = compress(&bytes).unwrap();
            assert_eq!(packed[0], 0x78, "zlib's header, not gzip's and not bare deflate");
            assert!(uncompress(&packed, MAX_UNPACKED).unwrap() == bytes, "{} bytes", bytes.len());
        }
        assert!(compress(&text).unwrap().len() < text.len() / 5);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let packed = compress(b"some text that is long enough to be cut").unwrap();
        for end in 0..packed.len() {
            assert_eq!(
                uncompress(&packed[..end], MAX_UNPACKED),
                Err(Status::SerializationFailure),
                "cut at {end}"
            );
        }
        for at in 0..packed.len() {
            let mut flipped = packed.clone();
            flipped[at] ^= 0x80;
            // Some bits only fill a byte up.
            let unpacked = uncompress(&flipped, MAX_UNPACKED);
            assert!(unpacked.is_err() || unpacked == uncompress(&packed, MAX_UNPACKED), "byte {at} flipped");
        }
        assert_eq!(uncompress(b"garbage", MAX_UNPACKED), Err(Status::SerializationFailure));
    }

    #[test]
    fn a_bomb_is_refused_and_not_cut_short() {
        let bomb = compress(&[0; 100_000]).unwrap();
        assert!(bomb.len() < 1000);
        assert_eq!(uncompress(&bomb, 99_999), Err(Status::SerializationFailure));
        assert_eq!(uncompress(&bomb, 100_000).map(|bytes| bytes.len()), Ok(100_000));
    }
}
