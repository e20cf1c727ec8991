//! What crosses the boundary: the structures, and the callbacks of Envoy that this layer calls.
//!
//! Names and layouts are Envoy's; the callbacks are found by name when the module is loaded (see
//! [`super::host`]), so that an Envoy without one of them is told apart instead of crashed.

use std::ffi::{CStr, c_char, c_void};

/// Bytes of Envoy's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EnvoyBuffer {
    pub(super) data: *const u8,
    pub(super) size: usize,
}

impl EnvoyBuffer {
    pub(super) const EMPTY: Self = Self { data: std::ptr::null(), size: 0 };

    /// Bytes as Envoy hands them over; they must outlive it.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), size: bytes.len() }
    }
}

/// Bytes of ours, which Envoy reads during a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ModuleBuffer {
    data: *const u8,
    size: usize,
}

impl ModuleBuffer {
    /// Nothing: how a header is removed.
    pub(super) const NULL: Self = Self { data: std::ptr::null(), size: 0 };

    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), size: bytes.len() }
    }
}

/// A header of Envoy's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EnvoyHeader {
    pub(super) name: EnvoyBuffer,
    pub(super) value: EnvoyBuffer,
}

impl EnvoyHeader {
    /// A header as Envoy hands it over; its bytes must outlive it.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of(name: &[u8], value: &[u8]) -> Self {
        Self { name: EnvoyBuffer::of(name), value: EnvoyBuffer::of(value) }
    }

    pub(super) const EMPTY: Self = Self { name: EnvoyBuffer::EMPTY, value: EnvoyBuffer::EMPTY };
}

/// A header of ours.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ModuleHeader {
    name: ModuleBuffer,
    value: ModuleBuffer,
}

impl ModuleHeader {
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        Self { name: ModuleBuffer::new(name), value: ModuleBuffer::new(value) }
    }
}

/// Envoy's object of a filter configuration.
pub(super) type ConfigPtr = *mut c_void;
/// Envoy's object of a filter: one stream in one filter.
pub(super) type FilterPtr = *mut c_void;
/// A scheduler: made by Envoy, owned by the module.
pub(super) type SchedulerPtr = *mut c_void;
/// What a module's `on_program_init` answers.
pub(super) type ProgramInit = unsafe extern "C" fn() -> *const c_char;

/// Declares [`Callbacks`]: one function pointer for each callback, found by its name.
macro_rules! callbacks {
    ($($name:ident($($argument:ty),* $(,)?) $(-> $answer:ty)?;)*) => {
        /// The callbacks of the Envoy that has loaded the module.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct Callbacks {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
        }

        impl Callbacks {
            /// Looks every callback up by its symbol.
            ///
            /// # Errors
            /// The names of those that are missing.
            ///
            /// # Safety
            /// `find` answers null or the callback of exactly that name in an Envoy that keeps the
            /// signatures of this table.
            pub(super) unsafe fn load(
                find: impl Fn(&CStr) -> *mut c_void,
            ) -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    let symbol = concat!("envoy_dynamic_module_callback_", stringify!($name), "\0");
                    let $name = CStr::from_bytes_with_nul(symbol.as_bytes())
                        .map_or(std::ptr::null_mut(), &find);
                    if $name.is_null() {
                        missing.push(stringify!($name));
                    }
                )*
                if !missing.is_empty() {
                    return Err(missing);
                }
                // SAFETY: none of the pointers is null, and each is the function of that name.
                unsafe { Ok(Self { $($name: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn($($argument),*) $(-> $answer)?,
                >($name),)* }) }
            }
        }
    };
}

callbacks! {
    // Process
    log(u32, ModuleBuffer);
    log_enabled(u32) -> bool;
    get_concurrency() -> u32;
    is_validation_mode() -> bool;

    // Headers and trailers of a stream
    http_get_headers_size(FilterPtr, u32) -> usize;
    http_get_headers(FilterPtr, u32, *mut EnvoyHeader) -> bool;
    http_get_header(FilterPtr, u32, ModuleBuffer, *mut EnvoyBuffer, usize, *mut usize) -> bool;
    http_add_header(FilterPtr, u32, ModuleBuffer, ModuleBuffer) -> bool;
    http_set_header(FilterPtr, u32, ModuleBuffer, ModuleBuffer) -> bool;
    http_clear_route_cache(FilterPtr);

    // Going on, or not
    http_send_response(
        FilterPtr, u32, *const ModuleHeader, usize, ModuleBuffer, ModuleBuffer,
    );
    http_filter_continue_decoding(FilterPtr);
    http_filter_continue_encoding(FilterPtr);

    // Bodies of a stream
    http_get_body_size(FilterPtr, u32) -> usize;
    http_get_body_chunks_size(FilterPtr, u32) -> usize;
    http_get_body_chunks(FilterPtr, u32, *mut EnvoyBuffer) -> bool;

    // What Envoy knows of a stream
    http_filter_get_attribute_string(FilterPtr, u32, *mut EnvoyBuffer) -> bool;
    http_filter_get_attribute_int(FilterPtr, u32, *mut u64) -> bool;
    http_filter_get_attribute_bool(FilterPtr, u32, *mut bool) -> bool;
    http_set_filter_state_bytes(FilterPtr, ModuleBuffer, ModuleBuffer) -> bool;
    http_get_filter_state_bytes(FilterPtr, ModuleBuffer, *mut EnvoyBuffer) -> bool;
    http_filter_get_worker_index(FilterPtr) -> u32;

    // Waking
    http_filter_scheduler_new(FilterPtr) -> SchedulerPtr;
    http_filter_scheduler_commit(SchedulerPtr, u64);
    http_filter_scheduler_delete(SchedulerPtr);
    http_filter_config_scheduler_new(ConfigPtr) -> SchedulerPtr;
    http_filter_config_scheduler_commit(SchedulerPtr, u64);
    http_filter_config_scheduler_delete(SchedulerPtr);

    // Callouts of a configuration
    http_filter_config_http_callout(
        ConfigPtr, *mut u64, ModuleBuffer, *const ModuleHeader, usize, ModuleBuffer, u64,
    ) -> u32;

    // Metrics: defined for a configuration, changed by it or by its streams
    http_filter_config_define_counter(
        ConfigPtr, ModuleBuffer, *const ModuleBuffer, usize, *mut usize,
    ) -> u32;
    http_filter_config_define_gauge(
        ConfigPtr, ModuleBuffer, *const ModuleBuffer, usize, *mut usize,
    ) -> u32;
    http_filter_config_define_histogram(
        ConfigPtr, ModuleBuffer, *const ModuleBuffer, usize, *mut usize,
    ) -> u32;
    http_filter_config_increment_counter(ConfigPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_config_increment_gauge(ConfigPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_config_decrement_gauge(ConfigPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_config_set_gauge(ConfigPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_config_record_histogram_value(
        ConfigPtr, usize, *const ModuleBuffer, usize, u64,
    ) -> u32;
    http_filter_increment_counter(FilterPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_increment_gauge(FilterPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_decrement_gauge(FilterPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
    http_filter_record_histogram_value(FilterPtr, usize, *const ModuleBuffer, usize, u64) -> u32;
}
