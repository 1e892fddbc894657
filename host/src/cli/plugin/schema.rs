//! The options of a plugin as a table, from their JSON Schema.

use serde_json::Value;

/// How deep options inside options are followed.
const DEPTH: usize = 3;

/// The options of a schema: name, type, default, what it is.
pub(super) fn options(schema: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    walk(schema, "", DEPTH, &mut rows);
    rows
}

fn walk(schema: &Value, prefix: &str, depth: usize, rows: &mut Vec<Vec<String>>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required = schema.get("required").and_then(Value::as_array);
    for (name, option) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|other| other == name));
        let default = match option.get("default") {
            Some(default) => default.to_string(),
            None if is_required => "required".to_owned(),
            None => "-".to_owned(),
        };
        let what = option.get("description").or_else(|| option.get("title")).and_then(Value::as_str);
        let name = format!("{prefix}{name}");
        rows.push(vec![name.clone(), type_of(option), default, what.unwrap_or_default().to_owned()]);
        if depth > 1 {
            walk(option, &format!("{name}."), depth - 1, rows);
        }
    }
}

/// What a value may be, in few words.
fn type_of(option: &Value) -> String {
    if let Some(values) = option.get("enum").and_then(Value::as_array) {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    let mut text = match option.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "),
        _ => "any".to_owned(),
    };
    if text == "array" {
        text = option.get("items").map_or(text, |items| format!("list of {}", type_of(items)));
    }
    let bound = |keys: [&str; 2]| keys.into_iter().find_map(|key| option.get(key));
    match (bound(["minimum", "exclusiveMinimum"]), bound(["maximum", "exclusiveMaximum"])) {
        (Some(least), Some(most)) => format!("{text}, {least} to {most}"),
        (Some(least), None) => format!("{text}, from {least}"),
        (None, Some(most)) => format!("{text}, to {most}"),
        (None, None) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_with_type_default_and_meaning() {
        let schema = serde_json::json!({
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "description": "where to"},
                "by": {"enum": ["tag", "rate"], "default": "tag"},
                "share": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
                "countries": {"type": "array", "items": {"type": "string"}},
                "budget": {"type": "object", "properties": {"day": {"type": "integer", "minimum": 1}}},
                "free": {}
            }
        });
        let rows: Vec<String> = options(&schema).iter().map(|row| row.join(" / ")).collect();
        insta::assert_snapshot!(rows.join("\n"), @r#"
        budget / object / - / 
        budget.day / integer, from 1 / - / 
        by / "tag" | "rate" / "tag" / 
        countries / list of string / - / 
        free / any / - / 
        share / number, 0 to 1 / 0.5 / 
        url / string / required / where to
        "#);
        assert!(options(&Value::Null).is_empty());
    }
}
