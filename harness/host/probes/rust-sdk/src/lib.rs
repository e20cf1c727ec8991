//! A small authorisation plugin in the style of the Rust SDK: it asks a service about every request,
//! counts, and keeps the last verdict in shared data.

use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { cluster: String::new() }));
}}

struct Root {
    cluster: String,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let config = self.get_plugin_configuration().unwrap_or_default();
        self.cluster = String::from_utf8(config).unwrap_or_default();
        self.set_tick_period(Duration::from_secs(5));
        !self.cluster.is_empty()
    }

    fn on_tick(&mut self) {
        let (verdict, _) = self.get_shared_data("verdict");
        log(&format!("tick, last verdict {}", verdict.map_or(0, |bytes| bytes.len())));
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter { cluster: self.cluster.clone() }))
    }
}

struct Filter {
    cluster: String,
}

fn log(text: &str) {
    // The SDK's own errors are unknown statuses, which panic in it.
    let _ = proxy_wasm::hostcalls::log(LogLevel::Info, text);
}

impl Context for Filter {
    fn on_http_call_response(&mut self, _token: u32, _headers: usize, body: usize, _trailers: usize) {
        let allowed = self.get_http_call_response_header(":status").as_deref() == Some("200");
        let verdict = self.get_http_call_response_body(0, body).unwrap_or_default();
        let _ = self.set_shared_data("verdict", Some(&verdict), None);
        if allowed {
            self.add_http_request_header("x-verdict", &String::from_utf8_lossy(&verdict));
            self.resume_http_request();
        } else {
            self.send_http_response(403, vec![("x-denied-by", "rust-sdk")], Some(b"denied"));
        }
    }
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        // Panics in the SDK where the value is not UTF-8.
        if let Some(odd) = self.get_http_request_header("x-odd") {
            log(&format!("odd: {odd}"));
        }
        let headers = vec![(":method", "GET"), (":path", path.as_str()), (":authority", "authz")];
        match self.dispatch_http_call(&self.cluster, headers, None, vec![], Duration::from_millis(100)) {
            Ok(_) => Action::Pause,
            Err(_) => {
                self.send_http_response(500, vec![], Some(b"no service"));
                Action::Pause
            }
        }
    }

    fn on_log(&mut self) {
        let status = self.get_http_response_header(":status").unwrap_or_default();
        log(&format!("logged {status}"));
    }
}
