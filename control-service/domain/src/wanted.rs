//! What to write in the place of a value that is wrong, by the JSON schema that describes it. A library that reads
//! values names its own types ("invalid type: map, expected u64"), which tell nobody what to write.

use serde_json::Value;

/// How the readers of values begin what they say of a value by their own types.
const OF_A_TYPE: [&str; 7] = [
    "invalid type: ",
    "invalid value: ",
    "invalid length ",
    "invalid digit ",
    "unknown variant ",
    "number too ",
    "cannot parse ",
];

/// Names of one description at most; a message must be read.
const MOST_NAMES: usize = 32;

/// What to tell of a mistake at a place of a document, `a.b[0].c`, where the reader of the value says this of it; and of
/// which place. Words of this program's own types are told as they are.
#[must_use]
pub fn told<'p>(schema: &Value, place: &'p str, said: &str) -> (&'p str, String) {
    let quoted = |begin| said.strip_prefix(begin).and_then(|rest: &str| Some(rest.split_once('`')?.0));
    // A member that there is not is told of where it stands.
    let place = match quoted("unknown field `").and_then(|name| place.strip_suffix(name)) {
        Some(within) => within.trim_end_matches('.'),
        None => place,
    };
    (place, instead(schema, place, said))
}

fn instead(schema: &Value, place: &str, said: &str) -> String {
    let node = at(schema, place);
    let quoted = |begin| said.strip_prefix(begin).and_then(|rest: &str| Some(rest.split_once('`')?.0));
    if let Some(name) = quoted("unknown field `") {
        return match node.map(|node| members(schema, node)).unwrap_or_default() {
            known if known.is_empty() => ["there is no `", name, "` here; leave it out"].concat(),
            known => ["there is no `", name, "` here; known are ", &known.join(", ")].concat(),
        };
    }
    if let Some(name) = quoted("missing field `") {
        let member = node.and_then(|node| step(schema, node, name));
        let wanted = member.and_then(|member| wanted(schema, member));
        let wanted = wanted.map(|wanted| [": ", &wanted].concat()).unwrap_or_default();
        return ["`", name, "` is required", &wanted].concat();
    }
    if let Some(name) = quoted("duplicate field `") {
        return ["`", name, "` stands there more than once; write it once"].concat();
    }
    if OF_A_TYPE.iter().any(|begin| said.starts_with(begin))
        && let Some(wanted) = node.and_then(|node| wanted(schema, node))
    {
        return wanted;
    }
    said.to_owned()
}

/// The schema of a place.
fn at<'s>(schema: &'s Value, place: &str) -> Option<&'s Value> {
    let steps = place.split(['.', '[', ']']).filter(|step| !step.is_empty());
    steps.into_iter().try_fold(schema, |node, name| step(schema, node, name))
}

/// The schema of a member, or of an item.
fn step<'s>(schema: &'s Value, node: &'s Value, name: &str) -> Option<&'s Value> {
    shapes(schema, node).into_iter().find_map(|shape| {
        let inner = match name.bytes().all(|b| b.is_ascii_digit()) {
            true => shape.get("items"),
            false => shape.get("properties").and_then(|members| members.get(name)),
        };
        inner.or_else(|| shape.get("additionalProperties").filter(|other| other.is_object()))
    })
}

/// What a value may be: the schema itself, what it refers to, or each of its choices.
fn shapes<'s>(schema: &'s Value, node: &'s Value) -> Vec<&'s Value> {
    if let Some(name) = node.get("$ref").and_then(Value::as_str) {
        let found = name.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
        return found.map(|found| shapes(schema, found)).unwrap_or_default();
    }
    let choices = ["anyOf", "oneOf"].into_iter().find_map(|kind| node.get(kind)?.as_array());
    // Beside a type, choices say which of its members go together.
    match choices {
        Some(choices) if node.get("type").is_none() => {
            choices.iter().flat_map(|choice| shapes(schema, choice)).collect()
        }
        _ => vec![node],
    }
}

fn members(schema: &Value, node: &Value) -> Vec<String> {
    let shapes = shapes(schema, node).into_iter();
    let names =
        shapes.filter_map(|shape| shape.get("properties")?.as_object()).flat_map(|known| known.keys());
    names.take(MOST_NAMES).cloned().collect()
}

/// What to write; `None` where the schema does not say.
fn wanted(schema: &Value, node: &Value) -> Option<String> {
    let shapes = shapes(schema, node);
    let names: Vec<String> = shapes.iter().flat_map(|shape| texts(shape)).take(MOST_NAMES).collect();
    let others = shapes.iter().filter(|shape| texts(shape).is_empty()).filter_map(|shape| of_type(shape));
    let all: Vec<String> = names.into_iter().chain(others).collect();
    let (last, before) = all.split_last()?;
    match before {
        [] => Some(["write ", last].concat()),
        _ => Some(["write ", &before.join(", "), " or ", last].concat()),
    }
}

/// The texts that a value may be.
fn texts(shape: &Value) -> Vec<String> {
    let one = shape.get("const").into_iter();
    let many = shape.get("enum").and_then(Value::as_array).into_iter().flatten();
    one.chain(many).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Of the types that a value may have the first one that says something.
fn of_type(shape: &Value) -> Option<String> {
    let kinds = match shape.get("type")? {
        Value::String(kind) => vec![kind.as_str()],
        kinds => kinds.as_array()?.iter().filter_map(Value::as_str).collect(),
    };
    kinds.into_iter().find_map(|kind| match kind {
        "integer" => Some(["a whole number", &bounds(shape, ["minimum", "maximum"], "")].concat()),
        "number" => Some(["a number", &bounds(shape, ["minimum", "maximum"], "")].concat()),
        "string" => {
            let length = bounds(shape, ["minLength", "maxLength"], " characters");
            let pattern = shape.get("pattern").and_then(Value::as_str);
            Some(match pattern {
                Some(pattern) => ["a text that matches ", pattern].concat(),
                None => ["a text", &length].concat(),
            })
        }
        "boolean" => Some("true or false".to_owned()),
        "array" => Some("a list".to_owned()),
        "object" => Some("an object (name: value)".to_owned()),
        _ => None,
    })
}

fn bounds(shape: &Value, [least, most]: [&str; 2], unit: &str) -> String {
    match (shape.get(least).and_then(Value::as_u64), shape.get(most).and_then(Value::as_u64)) {
        (Some(least), Some(most)) => format!(" from {least} to {most}{unit}"),
        (Some(least), None) => format!(" from {least}{unit}"),
        (None, Some(most)) => format!(" up to {most}{unit}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_says_what_to_write() {
        let schema = json!({
            "$defs": {"way": {"oneOf": [{"const": "oldest"}, {"const": "newest"}]}},
            "properties": {
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000},
                "order": {"$ref": "#/$defs/way"},
                "decision": {"anyOf": [{"enum": ["allow", "refuse"]}, {"type": "null"}]},
                "names": {"type": "array", "items": {"type": "string", "maxLength": 3}},
                "on": {"type": "boolean"},
                "tenant": {"anyOf": [{"type": "array"}, {"properties": {"claim": {"type": "string", "pattern": "^a$"}}, "type": "object"}]}
            }
        });
        for (place, said, wanted) in [
            ("limit", "invalid digit found in string", "write a whole number from 1 to 1000"),
            ("order", "unknown variant `x`, expected `oldest` or `newest`", "write oldest or newest"),
            ("decision", "unknown variant `x`", "write allow or refuse"),
            ("names", "invalid type: map, expected a sequence", "write a list"),
            ("names[7]", "invalid type: map", "write a text up to 3 characters"),
            ("on", "invalid type: string", "write true or false"),
            ("tenant", "invalid type: integer", "write a list or an object (name: value)"),
            ("tenant.claim", "invalid type: integer", "write a text that matches ^a$"),
            ("tenant", "missing field `claim`", "`claim` is required: write a text that matches ^a$"),
            ("", "missing field `zzz`", "`zzz` is required"),
            ("tenant", "unknown field `a`, expected `claim`", "there is no `a` here; known are claim"),
            ("on", "unknown field `a`, there are no fields", "there is no `a` here; leave it out"),
            ("", "duplicate field `on`", "`on` stands there more than once; write it once"),
            ("on", "this type's own words", "this type's own words"),
            ("nowhere", "invalid type: map", "invalid type: map"),
        ] {
            assert_eq!(told(&schema, place, said), (place, wanted.to_owned()));
        }
        let unknown = "unknown field `b`, expected `claim`";
        for (place, within) in [("tenant.b", "tenant"), ("b", ""), ("names[0].b", "names[0]")] {
            assert_eq!(told(&schema, place, unknown).0, within);
        }
    }
}
