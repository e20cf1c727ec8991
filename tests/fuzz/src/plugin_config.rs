//! `pluginConfig`: read or refused with reasons, and the same document means the same in whatever way it is written.

use portcullis_model::config::parse;
use serde_json::{Map, Value, json};

use crate::input::Input;

const NAMES: &[&str] = &[
    "snapshot",
    "role",
    "cluster",
    "clusters",
    "mode",
    "tokens",
    "resource",
    "streams",
    "audit",
    "workload",
    "platformPaths",
    "platformHosts",
    "paths",
    "apiKeyHeader",
    "upstream",
    "authority",
    "key",
    "domain",
    "headers",
    "cookie",
    "query",
    "maxWaiting",
    "name",
    "prefix",
];
const VALUES: &[&str] = &[
    "edge",
    "sidecar",
    "enforce",
    "dry-run",
    "acme-1",
    "x-token",
    "session",
    "clusters.example.com",
    "/v1/",
];

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let text = if input.byte() % 4 == 3 {
        input.rest().to_vec()
    } else {
        document(&mut input).to_string().into_bytes()
    };
    match parse(&text) {
        Err(errors) => assert!(!errors.is_empty(), "a refusal has a reason"),
        Ok(config) => {
            let value: Value = serde_json::from_slice(&text).expect("what is read is JSON");
            let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
            assert_eq!(parse(&pretty).as_ref(), Ok(&config), "written otherwise");
            let mut more = value;
            more["noSuchField"] = true.into();
            assert!(parse(more.to_string().as_bytes()).is_err(), "unknown fields are refused");
        }
    }
}

fn document(input: &mut Input<'_>) -> Value {
    let mut members: Map<String, Value> = Map::new();
    members.insert("role".into(), input.pick(&["edge", "sidecar"]).into());
    members.insert("domain".into(), "platform.test".into());
    members.insert("snapshot".into(), json!({"upstream": "u", "key": crate::tokens::snapshot_key()}));
    input.change(&mut members, NAMES, VALUES);
    if let Some(Value::Object(snapshot)) = members.get_mut("snapshot") {
        input.change(snapshot, NAMES, VALUES);
    }
    Value::Object(members)
}
