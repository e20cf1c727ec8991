//! The proxy in memory answers as Envoy 1.40 was seen to answer `examples/abi_probe.rs`.

use portcullis_proxy_wasm_abi::fake::FakeHost;
use portcullis_proxy_wasm_abi::{
    BufferType, HashFunction, Host, HostErrorKind, HttpCall, MapType, MetricType, QueueId,
};

const REQUEST: MapType = MapType::HttpRequestHeaders;

#[test]
fn headers_are_bytes_and_absence_is_no_error() {
    let host = FakeHost::new();
    let odd = b"a\xff\xfeb";
    host.set_headers(REQUEST, &[("X-Odd", odd), ("x-two", b"1"), ("x-two", b"2")]);
    assert_eq!(host.header(REQUEST, "x-odd"), Ok(Some(odd.to_vec())));
    assert_eq!(host.header(REQUEST, "x-absent"), Ok(None));
    assert_eq!(host.remove_header(REQUEST, b"x-absent"), Ok(()));
    assert_eq!(host.replace_header(REQUEST, "x-two", b"3"), Ok(()));
    assert_eq!(host.add_header(REQUEST, "x-odd", b"again"), Ok(()));
    let block = host.header_block(REQUEST, Vec::new()).unwrap().buffer;
    assert!(block.ends_with(b"x-odd\0a\xff\xfeb\0x-two\x003\0x-odd\0again\0"));
    assert_eq!(block.first_chunk(), Some(&3_u32.to_le_bytes()));
    let empty = host.header_block(MapType::HttpResponseHeaders, Vec::new()).unwrap().buffer;
    assert_eq!(empty, 0_u32.to_le_bytes());
    assert_eq!(host.buffer(BufferType::HttpRequestBody, 0, 10), Ok(vec![]));
    assert_eq!(host.property(&["no", "such"]), Ok(None));
}

#[test]
fn shared_data_is_compared_and_set_across_vms() {
    let host = FakeHost::new();
    let other = host.sibling();
    assert_eq!(host.shared_data("k"), Ok(None));
    host.set_shared_data("k", b"1", None).unwrap();
    let old = other.shared_data("k").unwrap().unwrap();
    host.set_shared_data("k", b"2", None).unwrap();
    let raced = other.set_shared_data("k", b"3", Some(old.cas));
    assert_eq!(raced.unwrap_err().fault, HostErrorKind::CasMismatch);
    let new = other.shared_data("k").unwrap().unwrap();
    assert_eq!(new.data, b"2");
    assert_eq!(other.set_shared_data("k", b"3", Some(new.cas)), Ok(()));
}

#[test]
fn queues_are_first_in_first_out_across_vms() {
    let host = FakeHost::new();
    let queue = host.register_queue("q").unwrap();
    let other = host.sibling();
    assert_eq!(other.resolve_queue("vm", "q"), Ok(Some(queue)));
    assert_eq!(other.resolve_queue("vm", "none"), Ok(None));
    other.enqueue(queue, b"1").unwrap();
    other.enqueue(queue, b"2").unwrap();
    assert_eq!(host.dequeue(queue), Ok(Some(b"1".to_vec())));
    assert_eq!(host.dequeue(queue), Ok(Some(b"2".to_vec())));
    assert_eq!(host.dequeue(queue), Ok(None));
    let unknown = host.enqueue(QueueId(9), b"").unwrap_err();
    assert_eq!(unknown.fault, HostErrorKind::NotFound);
}

#[test]
fn what_envoy_refuses_is_refused() {
    let host = FakeHost::new();
    let counter = host.define_metric(MetricType::Counter, "c").unwrap();
    assert_eq!(host.increment_metric(counter, 2), Ok(()));
    let zero = host.increment_metric(counter, 0).unwrap_err();
    assert_eq!(zero.fault, HostErrorKind::BadArgument);
    assert_eq!(host.metric("c"), Some(2));

    host.know_upstreams(&["known"]);
    let headers: &[(&[u8], &[u8])] = &[(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")];
    let call = |upstream, headers| {
        let call = HttpCall { upstream, headers, ..HttpCall::default() };
        host.http_call(&call).map_err(|error| error.fault)
    };
    assert!(call("known", headers).is_ok());
    assert_eq!(call("unknown", headers), Err(HostErrorKind::BadArgument));
    assert_eq!(call("known", &headers[1..]), Err(HostErrorKind::BadArgument));
    assert!(host.random(&mut vec![0; 1 << 20]).is_err());
}

#[test]
fn foreign_functions_are_missing_until_offered() {
    let host = FakeHost::new();
    let verify = || host.verify_signature(HashFunction::Sha256, b"k", b"s", b"t");
    assert_eq!(verify().unwrap_err().fault, HostErrorKind::NotFound);
    host.offer_foreign("verify_signature", |_| Ok(b"\x08\x01".to_vec()));
    assert_eq!(verify(), Ok(true));
    host.offer_foreign("verify_signature", |_| Ok(b"\x12\x03bad".to_vec()));
    assert_eq!(verify(), Ok(false));
    host.offer_foreign("verify_signature", |_| Ok(b"\x12\x09bad".to_vec()));
    assert_eq!(verify().unwrap_err().fault, HostErrorKind::Malformed);
}

#[test]
fn any_call_can_be_made_to_fail_and_heal() {
    let host = FakeHost::new();
    host.fail("clock_time_get", Some(HostErrorKind::Other(58)));
    assert_eq!(host.now().unwrap_err().fault, HostErrorKind::Other(58));
    host.fail("clock_time_get", None);
    assert!(host.now().is_ok());
}
