//! The symbols of a module.

/// Emits the symbols that Envoy looks for, and names what makes the configurations.
///
/// Once in a `cdylib`, at its root:
///
/// ```
/// # use portcullis_envoy::abi::{ConfigEvents, Setup};
/// fn new_config(_setup: &Setup<'_>) -> Result<Box<dyn ConfigEvents>, String> {
///     Err("not yet".to_owned())
/// }
/// portcullis_envoy::module!(new_config);
/// ```
///
/// Envoy demands all of them but the two of a configuration's events. Those of callouts and
/// streams that a *stream* begins are there for it alone: this layer begins none.
#[macro_export]
macro_rules! module {
    ($factory:path) => {
        #[allow(unsafe_code, reason = "Envoy finds hooks by their symbols and calls them with pointers")]
        #[allow(unreachable_pub, reason = "the symbols are for the dynamic linker")]
        const _: () = {
            use ::std::ffi::{c_char, c_void};
            use $crate::abi::exports::{self, EnvoyBuffer, EnvoyHeader};

            const FACTORY: $crate::abi::ConfigFactory = $factory;

            #[unsafe(no_mangle)]
            extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
                exports::program_init()
            }

            $crate::__hooks! {
                envoy_dynamic_module_on_http_filter_config_new(
                    envoy: *mut c_void, name: EnvoyBuffer, config: EnvoyBuffer,
                ) -> *const c_void = exports::config_new(envoy, name, config, FACTORY);
                envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void)
                    = exports::config_destroy(config);
                envoy_dynamic_module_on_http_filter_config_scheduled(
                    envoy: *mut c_void, config: *const c_void, event: u64,
                ) = exports::config_scheduled(envoy, config, event);
                envoy_dynamic_module_on_http_filter_config_http_callout_done(
                    envoy: *mut c_void, config: *const c_void, callout: u64, result: u32,
                    headers: *const EnvoyHeader, headers_size: usize,
                    chunks: *const EnvoyBuffer, chunks_size: usize,
                ) = exports::config_callout_done(
                    envoy, config, callout, result, (headers, headers_size), (chunks, chunks_size),
                );
                envoy_dynamic_module_on_http_filter_new(config: *const c_void, envoy: *mut c_void)
                    -> *const c_void = exports::filter_new(config, envoy);
                envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void)
                    = exports::filter_destroy(filter);
                envoy_dynamic_module_on_http_filter_request_headers(
                    envoy: *mut c_void, filter: *const c_void, end: bool,
                ) -> u32 = exports::request_headers(envoy, filter, end);
                envoy_dynamic_module_on_http_filter_request_body(
                    envoy: *mut c_void, filter: *const c_void, end: bool,
                ) -> u32 = exports::request_body(envoy, filter, end);
                envoy_dynamic_module_on_http_filter_request_trailers(
                    envoy: *mut c_void, filter: *const c_void,
                ) -> u32 = exports::request_trailers(envoy, filter);
                envoy_dynamic_module_on_http_filter_response_headers(
                    envoy: *mut c_void, filter: *const c_void, end: bool,
                ) -> u32 = exports::response_headers(envoy, filter, end);
                envoy_dynamic_module_on_http_filter_response_body(
                    envoy: *mut c_void, filter: *const c_void, end: bool,
                ) -> u32 = exports::response_body(envoy, filter, end);
                envoy_dynamic_module_on_http_filter_response_trailers(
                    envoy: *mut c_void, filter: *const c_void,
                ) -> u32 = exports::response_trailers(envoy, filter);
                envoy_dynamic_module_on_http_filter_stream_complete(
                    envoy: *mut c_void, filter: *const c_void,
                ) = exports::stream_complete(envoy, filter);
                envoy_dynamic_module_on_http_filter_scheduled(
                    envoy: *mut c_void, filter: *const c_void, event: u64,
                ) = exports::filter_scheduled(envoy, filter, event);
            }

            $crate::__unasked! {
                envoy_dynamic_module_on_http_filter_http_callout_done(
                    _: *mut c_void, _: *const c_void, _: u64, _: u32,
                    _: *const EnvoyHeader, _: usize, _: *const EnvoyBuffer, _: usize,
                );
                envoy_dynamic_module_on_http_filter_http_stream_headers(
                    _: *mut c_void, _: *const c_void, _: u64, _: *const EnvoyHeader, _: usize, _: bool,
                );
                envoy_dynamic_module_on_http_filter_http_stream_data(
                    _: *mut c_void, _: *const c_void, _: u64, _: *const EnvoyBuffer, _: usize, _: bool,
                );
                envoy_dynamic_module_on_http_filter_http_stream_trailers(
                    _: *mut c_void, _: *const c_void, _: u64, _: *const EnvoyHeader, _: usize,
                );
                envoy_dynamic_module_on_http_filter_http_stream_complete(
                    _: *mut c_void, _: *const c_void, _: u64,
                );
                envoy_dynamic_module_on_http_filter_http_stream_reset(
                    _: *mut c_void, _: *const c_void, _: u64, _: u32,
                );
            }

            // These two come to every filter; what they are about is Envoy's own flow control.
            #[unsafe(no_mangle)]
            extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
                _: *mut c_void,
                _: *const c_void,
            ) {
            }
            #[unsafe(no_mangle)]
            extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
                _: *mut c_void,
                _: *const c_void,
            ) {
            }
        };
    };
}

/// Hooks of [`module!`] that do something.
#[doc(hidden)]
#[macro_export]
macro_rules! __hooks {
    ($($name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $answer:ty)? = $call:expr;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) $(-> $answer)? {
            // SAFETY: Envoy alone calls it, by this symbol, with what belongs to this hook.
            unsafe { $call }
        }
    )*};
}

/// Hooks of [`module!`] for what the module never asks for.
#[doc(hidden)]
#[macro_export]
macro_rules! __unasked {
    ($($name:ident($(_: $type:ty),* $(,)?);)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $type),*) {
            $crate::abi::exports::unasked(stringify!($name));
        }
    )*};
}
