//! Bodies, queries and parts of paths become types here. What is wrong is told by the description of the type: where it
//! is, and what to write instead.

use portcullis_control_domain::wanted;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

/// Reads a JSON text.
///
/// # Errors
/// What to write instead.
pub(crate) fn json<T: DeserializeOwned + JsonSchema>(text: &[u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let said = error.inner().to_string();
        if !error.inner().is_data() {
            return ["this is no JSON: ", &said].concat();
        }
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        told::<T>(&place(error.path()), said)
    })?;
    reader.end().map_err(|error| ["something follows the JSON object: ", &error.to_string()].concat())?;
    Ok(read)
}

/// Reads a query.
///
/// # Errors
/// What to write instead.
pub(crate) fn query<T: DeserializeOwned + JsonSchema>(text: &str) -> Result<T, String> {
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(reader)
        .map_err(|error| told::<T>(&place(error.path()), &error.inner().to_string()))
}

/// What to tell of a mistake in a value of a type.
pub(crate) fn told<T: JsonSchema>(place: &str, said: &str) -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.for_deserialize().into_generator().into_root_schema_for::<T>();
    let (place, told) = wanted::told(schema.as_value(), place, said);
    if place.is_empty() { told } else { [place, ": ", &told].concat() }
}

/// A place as people write it. A member that there is not has none: it is named beside its place.
fn place(path: &Path) -> String {
    let mut place = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => place.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use portcullis_control_contract::audit::RecordFilter;
    use portcullis_control_contract::keys::KeyCreation;

    use super::*;

    fn body(text: &str) -> String {
        json::<KeyCreation>(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_mistake_in_a_body_says_what_to_write() {
        let key = |rest: &str| [r#"{"tenant": "acme", "subject": "s""#, rest, "}"].concat();
        let scope = r#""source_type": "worker", "scopes": "#;
        for (text, wanted) in [
            (key(r#", "source_type": "robot""#), "source_type: write human, worker or mcp_agent"),
            (key(""), "`source_type` is required: write human, worker or mcp_agent"),
            (key(&[", ", scope, "7"].concat()), "scopes: write a list"),
            (
                key(&[", ", scope, "[7]"].concat()),
                r"scopes[0]: write a text that matches ^[!#-\[\]-~]{1,128}$",
            ),
            (key(r#", "expires_in_s": "soon""#), "expires_in_s: write a whole number from 1 to 316224000"),
            (
                key(r#", "role": "r""#),
                "there is no `role` here; known are expires_in_s, roles, scopes, source_type, subject, tenant",
            ),
            (key(r#", "tenant": "acme""#), "`tenant` stands there more than once; write it once"),
        ] {
            assert_eq!(body(&text), wanted, "{text}");
        }
        assert!(body("{\"tenant\": \"Acme\"}").starts_with("tenant: "), "{}", body("{\"tenant\": \"Acme\"}"));
        assert!(body("{\"tenant\"").starts_with("this is no JSON: "));
    }

    #[test]
    fn a_mistake_in_a_query_says_what_to_write() {
        for (text, wanted) in [
            ("decision=foo", "decision: write allow, refuse, exempt, platform, none, open or end"),
            ("hop=x", "hop: write gateway, authn, source-type, cluster-status, audit, sidecar or control"),
            ("limit=many", "limit: write a whole number from 1 to 1000"),
            ("after=-1", "after: write a whole number from 0"),
            ("order=up", "order: write oldest or newest"),
            ("limit=1&limit=2", "`limit` stands there more than once; write it once"),
        ] {
            assert_eq!(query::<RecordFilter>(text).unwrap_err(), wanted);
        }
        let told = query::<RecordFilter>("descision=allow").unwrap_err();
        assert!(told.starts_with("there is no `descision` here; known are after, before, "), "{told}");
    }
}
