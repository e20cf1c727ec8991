//! The numbers of the Proxy-Wasm ABI 0.2.1, as names.

use std::fmt;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// The value with this ABI number; `None` if the ABI has no such number.
            pub fn from_code(code: u32) -> Option<Self> {
                match code { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The ABI number.
            pub fn code(self) -> u32 { self as u32 }

            /// The name as the ABI writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
        }
    };
}

codes! {
    /// What a hostcall answers (`proxy_status_t`).
    Status {
        /// The call succeeded.
        Ok = 0 => "ok",
        /// The named thing does not exist.
        NotFound = 1 => "not_found",
        /// An argument is out of range, or the map or buffer is not available in this phase.
        BadArgument = 2 => "bad_argument",
        /// A value could not be serialised.
        SerializationFailure = 3 => "serialization_failure",
        /// A value could not be parsed.
        ParseFailure = 4 => "parse_failure",
        /// An expression is malformed.
        BadExpression = 5 => "bad_expression",
        /// A pointer and length lie outside the module's memory.
        InvalidMemoryAccess = 6 => "invalid_memory_access",
        /// The queue is empty.
        Empty = 7 => "empty",
        /// The compare-and-swap number is out of date.
        CasMismatch = 8 => "cas_mismatch",
        /// The result has an unexpected type.
        ResultMismatch = 9 => "result_mismatch",
        /// The host failed.
        InternalFailure = 10 => "internal_failure",
        /// The connection broke.
        BrokenConnection = 11 => "broken_connection",
        /// The host does not implement the call.
        Unimplemented = 12 => "unimplemented",
    }
}

codes! {
    /// Severity of a log line (`proxy_log_level_t`).
    LogLevel {
        /// Finest detail.
        Trace = 0 => "trace",
        /// For developers.
        Debug = 1 => "debug",
        /// Normal operation.
        Info = 2 => "info",
        /// Something to look at.
        Warn = 3 => "warn",
        /// Something failed.
        Error = 4 => "error",
        /// The plugin cannot go on.
        Critical = 5 => "critical",
    }
}

codes! {
    /// A map of headers, trailers or metadata (`proxy_map_type_t`).
    MapKind {
        /// Headers of the request in the chain.
        RequestHeaders = 0 => "request_headers",
        /// Trailers of the request in the chain.
        RequestTrailers = 1 => "request_trailers",
        /// Headers of the response in the chain.
        ResponseHeaders = 2 => "response_headers",
        /// Trailers of the response in the chain.
        ResponseTrailers = 3 => "response_trailers",
        /// Initial metadata of a gRPC callout's answer.
        GrpcInitialMetadata = 4 => "grpc_initial_metadata",
        /// Trailing metadata of a gRPC callout's answer.
        GrpcTrailingMetadata = 5 => "grpc_trailing_metadata",
        /// Headers of an HTTP callout's answer.
        CallResponseHeaders = 6 => "http_call_response_headers",
        /// Trailers of an HTTP callout's answer.
        CallResponseTrailers = 7 => "http_call_response_trailers",
    }
}

codes! {
    /// A buffer of bytes (`proxy_buffer_type_t`).
    BufferKind {
        /// Body of the request in the chain.
        RequestBody = 0 => "request_body",
        /// Body of the response in the chain.
        ResponseBody = 1 => "response_body",
        /// Bytes from a TCP client.
        DownstreamData = 2 => "downstream_data",
        /// Bytes from a TCP server.
        UpstreamData = 3 => "upstream_data",
        /// Body of an HTTP callout's answer.
        CallResponseBody = 4 => "http_call_response_body",
        /// Message of a gRPC callout's answer.
        GrpcMessage = 5 => "grpc_receive_buffer",
        /// The VM's configuration.
        VmConfiguration = 6 => "vm_configuration",
        /// The plugin's configuration.
        PluginConfiguration = 7 => "plugin_configuration",
        /// Arguments of a foreign call into the module.
        CallData = 8 => "call_data",
    }
}

codes! {
    /// The kind of a metric (`proxy_metric_type_t`).
    MetricKind {
        /// Only goes up.
        Counter = 0 => "counter",
        /// Goes up and down.
        Gauge = 1 => "gauge",
        /// Collects values.
        Histogram = 2 => "histogram",
    }
}

codes! {
    /// A function that the host calls in the module.
    Callback {
        /// `_initialize`, `_start` or `main`: no context exists yet.
        Start = 0 => "_initialize",
        /// A context was made.
        ContextCreate = 1 => "proxy_on_context_create",
        /// The VM started.
        VmStart = 2 => "proxy_on_vm_start",
        /// The plugin gets its configuration.
        Configure = 3 => "proxy_on_configure",
        /// The timer of a root context fired.
        Tick = 4 => "proxy_on_tick",
        /// A shared queue has an entry.
        QueueReady = 5 => "proxy_on_queue_ready",
        /// Request headers arrived.
        RequestHeaders = 6 => "proxy_on_request_headers",
        /// A part of the request's body arrived.
        RequestBody = 7 => "proxy_on_request_body",
        /// Request trailers arrived.
        RequestTrailers = 8 => "proxy_on_request_trailers",
        /// Response headers arrived.
        ResponseHeaders = 9 => "proxy_on_response_headers",
        /// A part of the response's body arrived.
        ResponseBody = 10 => "proxy_on_response_body",
        /// Response trailers arrived.
        ResponseTrailers = 11 => "proxy_on_response_trailers",
        /// An HTTP callout ended.
        HttpCallResponse = 12 => "proxy_on_http_call_response",
        /// A gRPC callout's initial metadata arrived.
        GrpcInitialMetadata = 13 => "proxy_on_grpc_receive_initial_metadata",
        /// A gRPC callout's message arrived.
        GrpcReceive = 14 => "proxy_on_grpc_receive",
        /// A gRPC callout's trailing metadata arrived.
        GrpcTrailingMetadata = 15 => "proxy_on_grpc_receive_trailing_metadata",
        /// A gRPC callout ended.
        GrpcClose = 16 => "proxy_on_grpc_close",
        /// The stream is over; write the access log.
        Log = 17 => "proxy_on_log",
        /// The context is about to end.
        Done = 18 => "proxy_on_done",
        /// The context is gone.
        Delete = 19 => "proxy_on_delete",
    }
}
