//! What no call has yet is described as well as what some have.

use portcullis_control_contract::calls::Call;
use portcullis_control_domain::schema;
use serde_json::json;

use super::Schemas;
use super::operations::{Answer, Operation, answers, of, operation};

#[test]
fn every_parameter_of_a_path_has_a_schema_of_its_own() {
    for call in Call::ALL {
        let named = call.path().matches('{').count();
        assert_eq!(operation(*call).path.len(), named, "{call:?}");
    }
    let two = answers::<String>(200).path::<schema::ClusterId>().path::<u64>();
    let described = Schemas::default().parameters("/v1/clusters/{id}/nodes/{number}", &two);
    let told: Vec<_> = described.iter().map(|p| (&p["in"], &p["name"], &p["schema"]["type"])).collect();
    let (path, text, number) = (&json!("path"), &json!("string"), &json!("integer"));
    assert_eq!(told, [(path, &json!("id"), text), (path, &json!("number"), number)]);
    assert!(described[0]["schema"]["pattern"].is_string() && described[1]["schema"]["pattern"].is_null());
}

#[test]
fn a_call_may_answer_by_a_stream_of_events() {
    let answer = Answer { status: 200, media_type: "text/event-stream", schema: of::<String> };
    let events = Operation { answer, ..operation(Call::ListClusters) };
    let responses = Schemas::default().responses(Call::ListClusters, &events);
    assert_eq!(responses["200"]["content"], json!({"text/event-stream": {"schema": {"type": "string"}}}));
    let refused = responses["403"]["content"].as_object().unwrap();
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["application/problem+json"]);
}
