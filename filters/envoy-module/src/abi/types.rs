//! Numbers of the interface, named.

/// Which headers or trailers of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum HeaderMap {
    /// Request headers.
    Request = 0,
    /// Request trailers.
    RequestTrailers = 1,
    /// Response headers.
    Response = 2,
    /// Response trailers.
    ResponseTrailers = 3,
}

/// Which body of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum BodyKind {
    /// What came last of the request's body; only within `on_request_body`.
    ReceivedRequest = 0,
    /// What Envoy holds back of the request's body.
    BufferedRequest = 1,
    /// What came last of the response's body; only within `on_response_body`.
    ReceivedResponse = 2,
    /// What Envoy holds back of the response's body.
    BufferedResponse = 3,
}

/// Level of a line in Envoy's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum LogLevel {
    /// Finest.
    Trace = 0,
    /// For development.
    Debug = 1,
    /// Usual events.
    Info = 2,
    /// Something is not as it should be.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// Nothing works.
    Critical = 5,
}

/// What Envoy knows about a stream, by the names of its attributes. Only those that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Attribute {
    /// `request.id` (text).
    RequestId = 9,
    /// `request.protocol` (text).
    RequestProtocol = 10,
    /// `request.size`: body bytes (number).
    RequestSize = 13,
    /// `response.code` (number).
    ResponseCode = 15,
    /// `response.code_details` (text).
    ResponseCodeDetails = 16,
    /// `response.flags`: a bit set (number).
    ResponseFlags = 17,
    /// `response.grpc_status` (number).
    ResponseGrpcStatus = 18,
    /// `response.size`: body bytes (number).
    ResponseSize = 21,
    /// `source.address`: with port (text).
    SourceAddress = 24,
    /// `source.port` (number).
    SourcePort = 25,
    /// `destination.address`: with port (text).
    DestinationAddress = 26,
    /// `destination.port` (number).
    DestinationPort = 27,
    /// `connection.id` (number).
    ConnectionId = 28,
    /// `connection.mtls`: the peer showed a certificate that was verified (yes or no).
    ConnectionMtls = 29,
    /// `connection.requested_server_name` (text).
    ConnectionRequestedServerName = 30,
    /// `connection.subject_peer_certificate` (text).
    ConnectionSubjectPeerCertificate = 33,
    /// `connection.dns_san_peer_certificate`: the first one (text).
    ConnectionDnsSanPeerCertificate = 35,
    /// `connection.uri_san_peer_certificate`: the first one (text).
    ConnectionUriSanPeerCertificate = 37,
    /// `connection.sha256_peer_certificate_digest` (text).
    ConnectionSha256PeerCertificateDigest = 38,
    /// `upstream.address`: with port (text).
    UpstreamAddress = 41,
    /// `xds.cluster_name`: where the route leads to (text).
    XdsClusterName = 57,
    /// `xds.route_name` (text).
    XdsRouteName = 61,
}

/// Where Envoy calls the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// The module is loaded.
    ProgramInit,
    /// A configuration is made.
    ConfigNew,
    /// A configuration ends.
    ConfigDestroy,
    /// A tick or a wake on the main thread.
    ConfigScheduled,
    /// A callout of a configuration has ended.
    ConfigCallout,
    /// A stream begins.
    FilterNew,
    /// A stream is gone.
    FilterDestroy,
    /// Request headers.
    RequestHeaders,
    /// Request body.
    RequestBody,
    /// Request trailers.
    RequestTrailers,
    /// Response headers.
    ResponseHeaders,
    /// Response body.
    ResponseBody,
    /// Response trailers.
    ResponseTrailers,
    /// A stream was woken.
    Scheduled,
    /// A stream is complete.
    StreamComplete,
}
