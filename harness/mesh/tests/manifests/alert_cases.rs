//! Where each alert begins: series on this side of its boundary, at it, and beyond.

/// An alert at its boundary. In a series `{}` is where the values differ; `A..B` is A and B in turn until then.
pub(crate) struct Case {
    pub(crate) alert: &'static str,
    pub(crate) series: &'static [(&'static str, &'static str)],
    /// Values with which it keeps quiet: those at the boundary last.
    pub(crate) quiet: &'static [&'static str],
    /// The first value beyond.
    pub(crate) fires: &'static str,
    /// Minutes between samples.
    pub(crate) step: u32,
    /// The minute at which its condition is first true.
    pub(crate) from: u32,
    /// Part of its expression, and the same a little looser and a little stricter: with either a value above comes out otherwise.
    pub(crate) moved: Option<(&'static str, &'static str, &'static str)>,
}

const REQUESTS: &str =
    r#"envoy_http_downstream_rq_total{job="api-gateway",http_conn_manager_prefix="outbound_0.0.0.0_443"}"#;
const ERRORS: &str = r#"envoy_http_downstream_rq{job="api-gateway",response_code_class="5xx",http_conn_manager_prefix="outbound_0.0.0.0_443"}"#;
/// What kubelets find at port 8080 is nobody's request.
const PROBES: &str =
    r#"envoy_http_downstream_rq_total{job="api-gateway",http_conn_manager_prefix="outbound_0.0.0.0_8080"}"#;
const OFFLINE: &str =
    r#"portcullis_filter_refusals_total{job="api-gateway",stage="cluster-status",reason="cluster_offline"}"#;
const REFUSED: &str =
    r#"portcullis_filter_refusals_total{job="api-gateway",stage="authn",reason="credential_missing"}"#;
const SHOWN: &str = r#"envoy_listener_ssl_certificate_default_expiration_unix_time_seconds{job="api-gateway",instance="a",listener_address="0.0.0.0_443"}"#;
const MESH: &str = r#"envoy_listener_ssl_certificate_default_expiration_unix_time_seconds{job="data-api",instance="a",listener_address="0.0.0.0_15006"}"#;
const CPU: &str =
    r#"container_cpu_usage_seconds_total{namespace="alfred-platform",pod="a",container="istio-proxy"}"#;
const CPU_LIMIT: &str = r#"kube_pod_container_resource_limits{namespace="alfred-platform",pod="a",container="istio-proxy",resource="cpu"}"#;
const MEMORY: &str =
    r#"container_memory_working_set_bytes{namespace="portcullis",pod="a",container="portcullis"}"#;
const MEMORY_LIMIT: &str = r#"kube_pod_container_resource_limits{namespace="portcullis",pod="a",container="portcullis",resource="memory"}"#;

/// Requests that took up to so many milliseconds, of 6000 in each minute.
macro_rules! duration {
    ($le:literal) => {
        concat!(
            r#"portcullis_filter_request_duration_ms_bucket{job="api-gateway",source_type="human",le=""#,
            $le,
            r#""}"#
        )
    };
}

const NOTHING_ELSE: Case =
    Case { alert: "", series: &[], quiet: &[], fires: "", step: 1, from: 0, moved: None };

pub(crate) const CASES: &[Case] = &[
    Case {
        alert: "GatewayUnavailable",
        series: &[(r#"up{job="api-gateway",instance="a"}"#, "{}x60"), (r#"up{job="data-api"}"#, "1x60")],
        quiet: &["1"],
        fires: "0",
        ..NOTHING_ELSE
    },
    Case {
        alert: "ControlServiceUnavailable",
        series: &[(r#"portcullis_store_up{job="control-service",instance="a"}"#, "{}x60")],
        quiet: &["1"],
        fires: "0",
        ..NOTHING_ELSE
    },
    Case {
        alert: "ServiceUnavailable",
        series: &[(
            r#"envoy_cluster_upstream_cx_none_healthy{job="api-gateway",cluster_name="outbound|8080||data-api"}"#,
            "0+{}x60",
        )],
        quiet: &["0"],
        fires: "1",
        from: 1,
        moved: Some(("> 0", ">= 0", "> 1")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "ErrorsAboveOnePercent",
        series: &[(REQUESTS, "0+6000x60"), (ERRORS, "0+{}x60"), (PROBES, "0+90000x60")],
        quiet: &["0", "59.9", "60"],
        fires: "60.1",
        from: 1,
        moved: Some(("> 0.01", "> 0.00998", "> 0.01002")),
        ..NOTHING_ELSE
    },
    // A cluster that is offline is told to be: that is no error.
    Case {
        alert: "ErrorsAboveOnePercent",
        series: &[(REQUESTS, "0+6000x60"), (ERRORS, "0+3060x60"), (OFFLINE, "0+{}x60")],
        quiet: &["3060", "3000"],
        fires: "2999",
        from: 1,
        ..NOTHING_ELSE
    },
    Case {
        alert: "LatencyAbove500Milliseconds",
        series: &[
            (duration!("500"), "0+{}x60"),
            (duration!("1000"), "0+6000x60"),
            (duration!("+Inf"), "0+6000x60"),
        ],
        quiet: &["6000", "5706", "5700"],
        fires: "5694",
        from: 1,
        moved: Some(("> 500", "> 499", "> 510")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "CertificateExpiresWithin30Days",
        series: &[(SHOWN, "{}+60x90")],
        quiet: &["7776000", "2592001", "2592000"],
        fires: "2591999",
        moved: Some(("< 2592000", "< 2592001", "< 2591999")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "AuditRecordsLost",
        series: &[(r#"portcullis_filter_journal_dropped_total{job="api-gateway",instance="a"}"#, "7+{}x60")],
        quiet: &["0"],
        fires: "1",
        from: 1,
        moved: Some(("> 0", ">= 0", "> 99")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "SnapshotOld",
        series: &[(r#"portcullis_filter_snapshot_age_seconds{job="api-gateway",instance="a"}"#, "{}x60")],
        quiet: &["0", "150"],
        fires: "151",
        moved: Some(("> 150", "> 149", "> 151")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "IssuerKeysUnusable",
        series: &[
            (r#"portcullis_issuer_keys_expired{job="control-service",issuer="login"}"#, "{}x60"),
            (r#"portcullis_issuer_keys_empty{job="control-service",issuer="login"}"#, "0x60"),
        ],
        quiet: &["0"],
        fires: "1",
        ..NOTHING_ELSE
    },
    Case {
        alert: "IssuerKeysUnusable",
        series: &[
            (r#"portcullis_issuer_keys_expired{job="control-service",issuer="login"}"#, "0x60"),
            (r#"portcullis_issuer_keys_empty{job="control-service",issuer="login"}"#, "{}x60"),
        ],
        quiet: &["0"],
        fires: "1",
        ..NOTHING_ELSE
    },
    Case {
        alert: "ErrorsAbovePerMille",
        series: &[(REQUESTS, "0+6000x60"), (ERRORS, "0+{}x60")],
        quiet: &["0", "5.99", "6"],
        fires: "6.01",
        from: 1,
        moved: Some(("> 0.001", "> 0.000998", "> 0.001002")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "LatencyAbove200Milliseconds",
        series: &[
            (duration!("200"), "0+{}x60"),
            (duration!("350"), "0+6000x60"),
            (duration!("+Inf"), "0+6000x60"),
        ],
        quiet: &["6000", "5706", "5700"],
        fires: "5694",
        from: 1,
        moved: Some(("> 200", "> 199.7", "> 203")),
        ..NOTHING_ELSE
    },
    // Four days of 90 and 110 in turn.
    Case {
        alert: "UnusualTraffic",
        series: &[("portcullis:requests:rate5m", "90..110 {}x20")],
        quiet: &["100", "129"],
        fires: "132",
        step: 15,
        from: 4 * 1440,
        moved: Some(("> 3 *", "> 2.8 *", "> 3.3 *")),
    },
    // Hardly anybody is there, and a few more come.
    Case {
        alert: "UnusualTraffic",
        series: &[("portcullis:requests:rate5m", "0.01..0.03 {}x20")],
        quiet: &["1.01"],
        fires: "1.1",
        step: 15,
        from: 4 * 1440,
        moved: Some(("> 1\n", "> 0.9\n", "> 1.09\n")),
    },
    Case {
        alert: "UnusualRefusals",
        series: &[(REQUESTS, "0+6000x60"), (REFUSED, "0+{}x60")],
        quiet: &["0", "1199", "1200"],
        fires: "1201",
        from: 1,
        moved: Some(("> 0.2 ", "> 0.1995 ", "> 0.2005 ")),
        ..NOTHING_ELSE
    },
    // One who mistyped is none.
    Case {
        alert: "UnusualRefusals",
        series: &[(REQUESTS, "0+6x60"), (REFUSED, "0+{}x60")],
        quiet: &["5.9"],
        fires: "6.1",
        from: 5,
        moved: Some(("> 0.1", "> 0.095", "> 0.105")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "PolicyViolation",
        series: &[
            (r#"envoy_http_rbac{job="data-api",instance="a",authz_enforce_result="denied"}"#, "7+{}x60"),
            // Whoever comes from outside is refused at the gateway every day.
            (r#"envoy_http_rbac{job="api-gateway",instance="a",authz_enforce_result="denied"}"#, "0+9x60"),
        ],
        quiet: &["0"],
        fires: "1",
        from: 1,
        moved: Some(("> 0", ">= 0", "> 99")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "ProcessorUtilisationHigh",
        series: &[(CPU, "0+{}x60"), (CPU_LIMIT, "2x60")],
        quiet: &["0", "95.9", "96"],
        fires: "96.1",
        from: 5,
        moved: Some(("> 0.8", "> 0.799", "> 0.801")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "MemoryUtilisationHigh",
        series: &[(MEMORY, "{}x60"), (MEMORY_LIMIT, "1000x60")],
        quiet: &["0", "799", "800"],
        fires: "801",
        moved: Some(("> 0.8", "> 0.7989", "> 0.8011")),
        ..NOTHING_ELSE
    },
    Case {
        alert: "ConnectionUtilisationHigh",
        series: &[(
            r#"envoy_connection_limit_gateway_connections_active_connections{job="api-gateway",instance="a"}"#,
            "{}x60",
        )],
        quiet: &["0", "8000"],
        fires: "8001",
        moved: Some(("> 8000", "> 7999", "> 8001")),
        ..NOTHING_ELSE
    },
    // A day, of which a quarter is left after eighteen hours. One of a hundred hours is young then.
    Case {
        alert: "MeshCertificateAgeing",
        series: &[(MESH, "{}x120")],
        quiet: &["360000"],
        fires: "86400",
        step: 10,
        from: 1090,
        moved: Some(("0.25", "0.26", "0.24")),
    },
    Case {
        alert: "ReplicaBehind",
        series: &[(r#"portcullis_replica_behind{job="control-service",instance="a"}"#, "{}x60")],
        quiet: &["0"],
        fires: "1",
        ..NOTHING_ELSE
    },
    Case {
        alert: "ConfigurationRefused",
        series: &[(r#"portcullis_config_refused{job="control-service",instance="a"}"#, "{}x60")],
        quiet: &["0"],
        fires: "1",
        ..NOTHING_ELSE
    },
    Case {
        alert: "IssuerKeysStale",
        series: &[(r#"portcullis_issuer_keys_stale{job="control-service",issuer="login"}"#, "{}x60")],
        quiet: &["0"],
        fires: "1",
        ..NOTHING_ELSE
    },
    Case {
        alert: "AuditRecordsRefused",
        series: &[(
            r#"portcullis_audit_records_refused_total{job="control-service",instance="a",principal="p",reason="hop"}"#,
            "7+{}x60",
        )],
        quiet: &["0"],
        fires: "1",
        from: 1,
        moved: Some(("> 0", ">= 0", "> 99")),
        ..NOTHING_ELSE
    },
];
