use portcullis_control_contract::Wait;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

/// One call to the platform API.
pub(in crate::cli) struct Call {
    pub(super) method: Method,
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Option<Value>,
}

impl Call {
    fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|&s| s.to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None }
    }

    pub(in crate::cli) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(in crate::cli) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    pub(in crate::cli) fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds the members of a query of the contract.
    pub(in crate::cli) fn query(mut self, query: &impl Serialize) -> Self {
        let Value::Object(members) = written(query) else { return self };
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.query.extend(members.into_iter().map(|(name, value)| (name, text(value))));
        self
    }

    /// How many seconds to wait until every proxy has the change.
    pub(in crate::cli) fn wait(self, seconds: u64) -> Self {
        self.query(&Wait { wait: (seconds > 0).then_some(seconds) })
    }

    pub(in crate::cli) fn body(self, request: &impl Serialize) -> Self {
        Self { body: Some(written(request)), ..self }
    }
}

/// A request as JSON. Those of the contract have names and plain values only, which JSON can always hold.
pub(in crate::cli) fn written(request: &impl Serialize) -> Value {
    serde_json::to_value(request).unwrap_or_default()
}
