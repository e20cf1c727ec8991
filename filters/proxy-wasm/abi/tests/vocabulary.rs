//! Our numbers are those of the SDK, and every status is one error.

use portcullis_proxy_wasm_abi::{Action, BufferType, HostErrorKind, LogLevel, MapType, MetricType};
use proxy_wasm::types as sdk;

macro_rules! same {
    ($ours:ident: $($variant:ident),+ $(,)?) => {
        $(assert_eq!(
            $ours::$variant as u32,
            sdk::$ours::$variant as u32,
            concat!(stringify!($ours), "::", stringify!($variant)),
        );)+
    };
}

#[test]
fn numbers_are_those_of_the_sdk() {
    same!(LogLevel: Trace, Debug, Info, Warn, Error, Critical);
    same!(Action: Continue, Pause);
    same!(MapType: HttpRequestHeaders, HttpRequestTrailers, HttpResponseHeaders);
    same!(MapType: HttpResponseTrailers, HttpCallResponseHeaders, HttpCallResponseTrailers);
    same!(BufferType: HttpRequestBody, HttpResponseBody, HttpCallResponseBody);
    same!(BufferType: VmConfiguration, PluginConfiguration);
    same!(MetricType: Counter, Gauge, Histogram);
}

#[test]
fn statuses_are_those_of_the_sdk() {
    let known = [
        (sdk::Status::NotFound, HostErrorKind::NotFound),
        (sdk::Status::BadArgument, HostErrorKind::BadArgument),
        (sdk::Status::SerializationFailure, HostErrorKind::SerializationFailure),
        (sdk::Status::ParseFailure, HostErrorKind::ParseFailure),
        (sdk::Status::Empty, HostErrorKind::Empty),
        (sdk::Status::CasMismatch, HostErrorKind::CasMismatch),
        (sdk::Status::InternalFailure, HostErrorKind::InternalFailure),
    ];
    for (status, fault) in known {
        assert_eq!(HostErrorKind::check(status as u32), Err(fault));
    }
    assert_eq!(HostErrorKind::check(sdk::Status::Ok as u32), Ok(()));
}

#[test]
fn a_status_that_nobody_defined_is_an_error() {
    for status in [13, 255, u32::MAX] {
        assert_eq!(HostErrorKind::check(status), Err(HostErrorKind::Other(status)));
    }
}

#[test]
fn errors_name_the_hostcall() {
    let error = HostErrorKind::NotFound.of("enqueue_shared_queue");
    assert_eq!(error.to_string(), "hostcall enqueue_shared_queue failed: not found");
}
