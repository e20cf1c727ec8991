//! What an Envoy shows of its metrics, and how it calls them: as Istio's own bootstrap says. An operator's rules and
//! dashboards have to find the same names here.

use serde_json::{Value, json};

/// Labels that Istio's bootstrap takes out of names, each by the first group of its expression.
const LABELS: [(&str, &str); 6] = [
    ("cluster_name", r"^cluster(\.(.+);)"),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("authz_enforce_result", r"rbac(\.(allowed|denied))"),
];

/// What it shows whatever the mesh configuration says.
const PREFIXES: [&str; 8] = [
    "reporter=",
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "wasm",
    "component",
    "istio",
];
const SUFFIXES: [&str; 4] = ["rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"];
/// The second is of the tunnel gateway, whose bootstrap is not Istio's.
const REGEXPS: [&str; 2] = [r"vhost\..*\.route\..*", r".*reverse_tunnel.*"];

/// What a proxy shows: by `defaultConfig` of the mesh configuration, and by the annotation of its pod for histograms.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    labels: Vec<String>,
    matchers: Vec<Value>,
    buckets: Value,
}

impl Shown {
    /// By `defaultConfig`, and by the text of `sidecar.istio.io/statsHistogramBuckets`, which is JSON.
    ///
    /// # Errors
    /// When the annotation is no JSON.
    pub fn new(default_config: &Value, buckets: Option<&str>) -> serde_json::Result<Self> {
        let texts = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| text.as_str().map(ToOwned::to_owned))
                .collect()
        };
        let wanted = |field: &str, always: &[&str]| {
            let always = always.iter().map(|text| (*text).to_owned());
            always.chain(texts(&default_config["proxyStatsMatcher"][field])).collect::<Vec<_>>()
        };
        let prefixes = wanted("inclusionPrefixes", &PREFIXES).into_iter().map(|text| json!({"prefix": text}));
        let suffixes = wanted("inclusionSuffixes", &SUFFIXES).into_iter().map(|text| json!({"suffix": text}));
        let regexps = wanted("inclusionRegexps", &REGEXPS).into_iter();
        let regexps = regexps.map(|text| json!({"safe_regex": {"regex": text}}));
        Ok(Self {
            labels: texts(&default_config["extraStatTags"]),
            matchers: prefixes.chain(suffixes).chain(regexps).collect(),
            buckets: buckets.map_or(Ok(Value::Null), serde_json::from_str)?,
        })
    }

    /// `stats_config` of a bootstrap.
    pub(super) fn config(&self) -> Value {
        let own = self.labels.iter().map(|label| (label.as_str(), format!(r"({label}=\.=(.*?);\.;)")));
        let known = LABELS.iter().map(|(label, regex)| (*label, (*regex).to_owned()));
        let tags = known.chain(own).map(|(label, regex)| json!({"tag_name": label, "regex": regex}));
        let mut config = json!({
            "use_all_default_tags": false,
            "stats_tags": tags.collect::<Vec<_>>(),
            "stats_matcher": {"inclusion_list": {"patterns": self.matchers}},
        });
        let bounds = self.buckets.as_object().into_iter().flatten();
        let bounds = bounds.map(|(prefix, bounds)| json!({"match": {"prefix": prefix}, "buckets": bounds}));
        let bounds: Vec<_> = bounds.collect();
        if !bounds.is_empty() {
            config["histogram_bucket_settings"] = bounds.into();
        }
        config
    }
}
