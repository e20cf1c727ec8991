//! Dashboards: Grafana can load them, and the page lists them.

use std::collections::BTreeSet;
use std::fs;

use portcullis_mesh::paths;
use serde_json::{Value, json};

use crate::rendered::built;

/// Each with its name in the ConfigMap.
pub(crate) fn dashboards() -> Vec<(String, Value)> {
    let map = built("overlays/prod").named("ConfigMap", "portcullis-dashboards");
    let files = map["data"].as_object().unwrap().iter();
    files.map(|(name, text)| (name.clone(), serde_json::from_str(text.as_str().unwrap()).unwrap())).collect()
}

pub(crate) fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

#[test]
fn every_dashboard_is_one_that_grafana_loads() {
    let all = dashboards();
    let mut titles = BTreeSet::new();
    for (file, dashboard) in &all {
        let stem = file.strip_suffix(".json").unwrap();
        assert_eq!(dashboard["uid"], format!("portcullis-{stem}"));
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
        assert!(titles.insert(dashboard["title"].as_str().unwrap()), "{file}");
        let variable = &dashboard["templating"]["list"][0];
        assert_eq!(
            (&variable["name"], &variable["type"], &variable["query"]),
            (&json!("datasource"), &json!("datasource"), &json!("prometheus")),
            "{file}"
        );
        let ids: BTreeSet<_> = panels(dashboard).iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels(dashboard).len(), "{file}: two panels have one id");
        for panel in panels(dashboard) {
            assert_eq!(
                panel["datasource"],
                json!({"type": "prometheus", "uid": "${datasource}"}),
                "{file}: {panel}"
            );
            let place = &panel["gridPos"];
            let right = place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap();
            assert!(right <= 24 && !panel["targets"].as_array().unwrap().is_empty(), "{file}: {panel}");
        }
        no_panel_covers_another(file, panels(dashboard));
    }
    let listed = fs::read_to_string(paths::root().join("docs/alerts.md")).unwrap();
    for title in titles {
        let name = title.strip_prefix("Portcullis: ").unwrap();
        assert!(listed.contains(&format!("| **{name}** |")), "docs/alerts.md does not list {name}");
    }
    assert_eq!(all.len(), 7);
}

fn no_panel_covers_another(file: &str, panels: &[Value]) {
    let mut covered = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(covered.insert(place), "{file}: {} covers another panel", panel["title"]);
        }
    }
}
