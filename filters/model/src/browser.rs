//! What is said to browsers: which pages of other origins may use an answer.
//!
//! The same section stands in a `pluginConfig` and, for single clusters, in the control service's configuration
//! and in the snapshot. Both are read by [`BrowserRules::read`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::errors::FieldErrors;
use crate::header_name::is_header_name;
use crate::origin::OriginPattern;
use crate::section::Section;

/// What is said to browsers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrowserRules {
    /// What pages of other origins may do; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsPolicy>,
}

/// What pages of other origins may do (Fetch standard, "CORS protocol").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Whose pages; none: nobody's.
    pub origins: Vec<OriginPattern>,
    /// By which methods.
    pub methods: Vec<String>,
    /// With which request headers, lower case.
    pub headers: Vec<String>,
    /// Which response headers they may read besides the usual ones, lower case.
    pub exposed_headers: Vec<String>,
    /// Whether browsers may send cookies along.
    pub credentials: bool,
    /// Seconds for which a browser may remember the answer to a preflight.
    pub max_age_seconds: u32,
}

/// The longest list in a policy.
const MOST: usize = 64;

/// The longest list of methods or headers in a policy, in bytes as it is [told](told_len).
pub const POLICY_LIST_BYTES: usize = 512;

/// The longest list of methods or headers of all policies of clusters together, each name once.
pub const CLUSTERS_LIST_BYTES: usize = 1_024;

/// What a name takes in a header that lists several, `, ` included.
#[must_use]
pub fn told_len(name: &str) -> usize {
    name.len().saturating_add(2)
}

impl BrowserRules {
    /// Reads what stands in a field of this name; `null` says nothing.
    #[must_use]
    pub fn read(value: &Value, field: &str, errors: &FieldErrors) -> Self {
        Self::from_section(Section::new(field, value, errors))
    }

    pub(crate) fn from_section(mut section: Section<'_>) -> Self {
        let cors = section.given("cors").map(CorsPolicy::read);
        section.finish();
        Self { cors }
    }
}

impl CorsPolicy {
    fn read(mut section: Section<'_>) -> Self {
        let origins = section.texts("origins").unwrap_or_default();
        let origins = checked(origins, &section.name("origins"), section.errors(), origin);
        let usual = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let methods = section.texts("methods").unwrap_or_else(|| usual(&["GET", "HEAD", "POST"]));
        let headers = section.texts("headers").unwrap_or_else(|| usual(&["authorization", "content-type"]));
        let exposed = section.texts("exposedHeaders").unwrap_or_default();
        let credentials = section.flag("credentials");
        if credentials && origins.contains(&OriginPattern::Any) {
            section.error(
                "origins",
                "* with credentials would let every page act for whoever looks at it; name the origins",
            );
        }
        let policy = Self {
            origins,
            methods: checked(methods, &section.name("methods"), section.errors(), method),
            headers: checked(headers, &section.name("headers"), section.errors(), header),
            exposed_headers: checked(exposed, &section.name("exposedHeaders"), section.errors(), header),
            credentials,
            max_age_seconds: section.number("maxAgeSeconds", 600, 0, 86_400),
        };
        for (name, list) in policy.told() {
            if list.iter().map(|name| told_len(name)).sum::<usize>() > POLICY_LIST_BYTES {
                let problem =
                    format!("has more than {POLICY_LIST_BYTES} bytes; every preflight tells all of it");
                section.error(name, problem);
            }
        }
        section.finish();
        policy
    }

    /// Whether it is about pages of this origin.
    #[inline]
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|pattern| pattern.fits(origin))
    }

    /// Whether it lets pages of this origin use cookies.
    #[inline]
    #[must_use]
    pub fn allows_credentials(&self, origin: &[u8]) -> bool {
        self.credentials && self.allows(origin)
    }

    /// Its lists of names that are told to browsers, each with the name of its field.
    #[must_use]
    pub fn told(&self) -> [(&'static str, &[String]); 3] {
        [("methods", &self.methods), ("headers", &self.headers), ("exposedHeaders", &self.exposed_headers)]
    }
}

/// Checks each member of a list.
fn checked<T>(
    list: Vec<String>,
    field: &str,
    errors: &FieldErrors,
    check: fn(String) -> Result<T, String>,
) -> Vec<T> {
    if list.len() > MOST {
        errors.add(field, format!("has more than {MOST} entries"));
    }
    let read =
        |(at, text)| check(text).map_err(|problem| errors.add(&format!("{field}[{at}]"), problem)).ok();
    list.into_iter().enumerate().filter_map(read).collect()
}

fn origin(text: String) -> Result<OriginPattern, String> {
    OriginPattern::parse(&text)
}

fn method(name: String) -> Result<String, String> {
    let never = ["TRACE", "TRACK", "DEBUG", "CONNECT"].contains(&name.as_str());
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match plain && !never {
        true => Ok(name),
        false => {
            Err(format!("{name:?} is no method that is passed on; write names such as GET, in capitals"))
        }
    }
}

fn header(name: String) -> Result<String, String> {
    let name = name.to_ascii_lowercase();
    if name.starts_with("x-portcullis-") || !is_header_name(&name) {
        return Err(format!(
            "{name:?} is not a header that clients and Data APIs may use; write its whole name"
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(raw: Value) -> (BrowserRules, Vec<String>) {
        let errors = FieldErrors::default();
        let rules = BrowserRules::read(&raw, "browser", &errors);
        (rules, errors.into_fields())
    }

    #[test]
    fn a_policy_has_defaults_and_goes_through_the_snapshot() {
        let (rules, errors) = read(json!({"cors": {"origins": ["https://App.example.com"]}}));
        assert_eq!(errors, Vec::<String>::new());
        let cors = rules.cors.clone().unwrap();
        assert!(cors.allows(b"https://app.example.com") && !cors.allows(b"https://evil.example.com"));
        assert_eq!((cors.methods.join(" ").as_str(), cors.max_age_seconds), ("GET HEAD POST", 600));
        assert_eq!(
            (cors.headers.join(" ").as_str(), cors.credentials),
            ("authorization content-type", false)
        );
        let written = serde_json::to_value(&rules).unwrap();
        assert_eq!(serde_json::from_value::<BrowserRules>(written).unwrap(), rules);
        assert_eq!(read(json!({})).0, BrowserRules::default());
    }

    #[test]
    fn every_origin_with_credentials_is_refused() {
        let (_, errors) = read(json!({"cors": {"origins": ["*"], "credentials": true}}));
        assert_eq!(errors, ["browser.cors.origins"]);
        assert_eq!(read(json!({"cors": {"origins": ["*"]}})).1, Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_told_with_its_field() {
        let (_, errors) = read(json!({"csp": {}, "cors": {"origin": "x", "origins": ["null", "https://a/"],
            "methods": ["get", "*", "TRACE"], "headers": ["*", "x-portcullis-subject", "a b"],
            "exposedHeaders": ["*"], "maxAgeSeconds": 86_401}}));
        for field in [
            "csp",
            "cors.origin",
            "cors.origins[0]",
            "cors.origins[1]",
            "cors.methods[0]",
            "cors.methods[1]",
            "cors.methods[2]",
            "cors.headers[0]",
            "cors.headers[1]",
            "cors.headers[2]",
            "cors.exposedHeaders[0]",
            "cors.maxAgeSeconds",
        ] {
            assert!(errors.contains(&format!("browser.{field}")), "{field} not in {errors:?}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("https://a{n}.test")).collect();
        assert_eq!(read(json!({"cors": {"origins": many}})).1, ["browser.cors.origins"]);
    }

    #[test]
    fn a_list_that_every_answer_would_tell_is_short() {
        let names = |count: usize| (0..count).map(|n| format!("x-header-{n:05}")).collect::<Vec<_>>();
        for field in ["headers", "exposedHeaders"] {
            assert_eq!(read(json!({"cors": {field: names(32)}})).1, Vec::<String>::new());
            assert_eq!(read(json!({"cors": {field: names(33)}})).1, [format!("browser.cors.{field}")]);
        }
        assert_eq!(read(json!({"cors": {"methods": ["A".repeat(511)]}})).1, ["browser.cors.methods"]);
    }
}
