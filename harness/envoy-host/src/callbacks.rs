//! Envoy's callbacks, by name.

mod metrics;
mod stream;
mod wake;

use std::ffi::{CStr, c_void};

use portcullis_envoy::abi::exports;
use portcullis_testhost::LogLevel;

use crate::process::current;
use crate::raw::Buffer;

/// A table of functions, searched by name.
macro_rules! table {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        fn find(symbol: &CStr) -> *mut c_void {
            let name = symbol.to_bytes().strip_prefix(b"envoy_dynamic_module_callback_");
            match name.unwrap_or_default() {
                $($(name if name == stringify!($name).as_bytes() => $module::$name as *mut c_void,)*)*
                _ => std::ptr::null_mut(),
            }
        }
    };
}

table! {
    process: log, log_enabled, get_concurrency, is_validation_mode;
    stream: http_get_headers_size, http_get_headers, http_get_header, http_add_header, http_set_header,
        http_clear_route_cache, http_send_response, http_filter_continue_decoding,
        http_filter_continue_encoding, http_get_body_size, http_get_body_chunks_size, http_get_body_chunks,
        http_filter_get_attribute_string, http_filter_get_attribute_int, http_filter_get_attribute_bool,
        http_set_filter_state_bytes, http_get_filter_state_bytes, http_filter_get_worker_index;
    wake: http_filter_scheduler_new, http_filter_scheduler_commit, http_filter_scheduler_delete,
        http_filter_config_scheduler_new, http_filter_config_scheduler_commit,
        http_filter_config_scheduler_delete, http_filter_config_http_callout;
    metrics: http_filter_config_define_counter, http_filter_config_define_gauge,
        http_filter_config_define_histogram, http_filter_config_increment_counter,
        http_filter_config_increment_gauge, http_filter_config_decrement_gauge, http_filter_config_set_gauge,
        http_filter_config_record_histogram_value, http_filter_increment_counter, http_filter_increment_gauge,
        http_filter_decrement_gauge, http_filter_record_histogram_value;
}

/// Gives the module this table, as it would find Envoy's by symbol.
pub(crate) fn offer() -> Result<(), String> {
    // SAFETY: every function below has the signature that Envoy's header gives to its name.
    unsafe { exports::play_envoy(find) }.map_err(|missing| format!("no callback {}", missing.join(", ")))
}

mod process {
    use super::{Buffer, LogLevel, current};

    pub(super) extern "C" fn log(level: u32, message: Buffer) {
        let level = match level {
            0 => LogLevel::Trace,
            1 => LogLevel::Debug,
            2 => LogLevel::Info,
            3 => LogLevel::Warn,
            4 => LogLevel::Error,
            _ => LogLevel::Critical,
        };
        // SAFETY: the module's bytes live during the call.
        let message = unsafe { message.text() };
        match current() {
            Some(plugin) => plugin.log(level, message),
            None => eprintln!("{message}"),
        }
    }

    pub(super) extern "C" fn log_enabled(_level: u32) -> bool {
        true
    }

    pub(super) extern "C" fn get_concurrency() -> u32 {
        1
    }

    /// Said so that the module starts no thread of its own: ticks come from the host's clock.
    pub(super) extern "C" fn is_validation_mode() -> bool {
        true
    }
}
