//! JSON Schema (2020-12), as much of it as the published schema uses. A crate for all of it would have candle built a second time
//! for the tests, for the features that it turns on.

use serde_json::{Map, Value};

pub struct Schema(Value);

impl Schema {
    pub fn new(schema: Value) -> Self {
        Self(schema)
    }

    /// The definition of that name.
    pub fn definition(&self, name: &str) -> &Value {
        self.0.pointer(&format!("/$defs/{name}")).unwrap_or_else(|| panic!("no definition of {name}"))
    }

    pub fn definitions(&self) -> &Map<String, Value> {
        self.0["$defs"].as_object().expect("definitions")
    }

    /// What of the value is not as the schema has it.
    pub fn faults(&self, value: &Value) -> Vec<String> {
        let mut faults = vec![];
        self.check(&self.0, value, "", &mut faults);
        faults
    }

    pub fn is_valid(&self, value: &Value) -> bool {
        self.faults(value).is_empty()
    }

    /// The schema that a reference leads to, or itself.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                self.definition(reference.strip_prefix("#/$defs/").expect("a definition of this schema"))
            }
            None => schema,
        }
    }

    /// # Panics
    /// A keyword is none that is known here.
    fn check(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        for (keyword, rule) in schema.as_object().expect("a schema") {
            let is_met = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    self.check(self.resolve(schema), value, place, faults);
                    true
                }
                "type" => match rule {
                    Value::String(kind) => is_of(kind, value),
                    kinds => items(kinds).iter().any(|kind| is_of(kind.as_str().expect("a type"), value)),
                },
                "const" => value == rule,
                "enum" => items(rule).contains(value),
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
                "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().expect("a number")),
                "minItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().expect("a count"))
                }
                "maxItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().expect("a count"))
                }
                "required" => value.as_object().is_none_or(|fields| {
                    items(rule).iter().all(|key| fields.contains_key(key.as_str().expect("a key")))
                }),
                "properties" => {
                    for (key, schema) in rule.as_object().expect("properties") {
                        if let Some(value) = value.get(key) {
                            self.check(schema, value, &format!("{place}/{key}"), faults);
                        }
                    }
                    true
                }
                "items" => {
                    for value in value.as_array().into_iter().flatten() {
                        self.check(rule, value, &format!("{place}/"), faults);
                    }
                    true
                }
                "allOf" => {
                    for schema in items(rule) {
                        self.check(schema, value, place, faults);
                    }
                    true
                }
                "if" => {
                    let mut differences = vec![];
                    self.check(rule, value, place, &mut differences);
                    if differences.is_empty() {
                        self.check(&schema["then"], value, place, faults);
                    }
                    true
                }
                "then" => true,
                unknown => panic!("{unknown} is not known here"),
            };
            if !is_met {
                faults.push(format!("{place}: {value} is not of {keyword} {rule}"));
            }
        }
    }
}

fn items(rule: &Value) -> &[Value] {
    rule.as_array().expect("an array")
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        unknown => panic!("{unknown} is no type"),
    }
}
