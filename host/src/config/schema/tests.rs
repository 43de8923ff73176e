use super::*;
use crate::config::Position;
use serde_json::json;

/// The faults of `section`, each as `path: message`.
fn faults(schema: Value, section: Value) -> Vec<String> {
    let positions = SectionPositions {
        path: "c".to_owned(),
        ..SectionPositions::default()
    };
    validate(&section, &positions, &schema)
        .iter()
        .map(|fault| format!("{}: {}", fault.path, fault.message))
        .collect()
}

/// What the SDK makes of a config like the mock's.
fn sample() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["endpoint"],
        "properties": {
            "endpoint": { "type": "string", "minLength": 1 },
            "seed": { "type": ["integer", "null"], "format": "uint64", "minimum": 0 },
            "rate": { "type": "number", "minimum": 0, "maximum": 1 },
            "delay": { "$ref": "#/$defs/Span" },
            "mode": { "$ref": "#/$defs/Mode" },
            "backend": { "$ref": "#/$defs/Backend" },
            "retry": { "anyOf": [{ "$ref": "#/$defs/Retry" }, { "type": "null" }] },
            "zones": { "type": "array", "items": { "type": "string" }, "maxItems": 2, "uniqueItems": true },
            "capacity": { "type": "object", "additionalProperties": { "type": ["string", "integer"] } },
            "pair": { "type": "array", "prefixItems": [{ "type": "string" }, { "type": "boolean" }], "minItems": 2 }
        },
        "$defs": {
            "Span": { "type": "string", "pattern": "^([0-9]+(ms|s|m|h)|never)$", "examples": ["250ms", "never"] },
            "Mode": { "oneOf": [{ "const": "fast", "type": "string" }, { "enum": ["slow", "steady"], "type": "string" }] },
            "Retry": { "type": "object", "properties": { "times": { "type": "integer" } }, "additionalProperties": false },
            "Backend": { "oneOf": [
                { "type": "object", "required": ["kind"], "properties": { "kind": { "const": "memory" } }, "additionalProperties": false },
                { "type": "object", "required": ["kind", "socket"], "additionalProperties": false,
                  "properties": { "kind": { "const": "external" }, "socket": { "type": "string" } } }
            ] }
        }
    })
}

fn sample_faults(mut section: Value) -> Vec<String> {
    section["endpoint"] = "x".into();
    faults(sample(), section)
}

#[test]
fn what_fits_has_no_faults() {
    let full = json!({
        "endpoint": "x", "seed": 5, "rate": 0.5, "delay": "10s", "mode": "steady", "retry": null, "zones": ["a", "b"],
        "backend": { "kind": "external", "socket": "s" }, "capacity": { "cpu": 4, "memory": "1Gi" }, "pair": ["a", true]
    });
    assert_eq!(faults(sample(), full), Vec::<String>::new());
    assert_eq!(
        sample_faults(json!({ "seed": null, "retry": { "times": 3.0 }, "backend": { "kind": "memory" } })),
        Vec::<String>::new()
    );
    assert_eq!(faults(json!(true), json!({ "a": 1 })), Vec::<String>::new());
    assert_eq!(faults(Value::Null, json!({ "a": 1 })), Vec::<String>::new());
}

#[test]
fn every_fault_says_what_was_expected() {
    for (section, expected) in [
        (json!({ "seed": "5" }), "c.seed: expected a whole number, found a text"),
        (
            json!({ "seed": 1.5 }),
            "c.seed: expected a whole number, found a number with a fraction",
        ),
        (json!({ "seed": -1 }), "c.seed: expected at least 0"),
        (json!({ "rate": 1.5 }), "c.rate: expected at most 1"),
        (
            json!({ "delay": "10 s" }),
            "c.delay: expected a text such as 250ms or never",
        ),
        (json!({ "delay": 10 }), "c.delay: expected a text, found a number"),
        (
            json!({ "mode": "stedy" }),
            "c.mode: expected fast, slow or steady (did you mean \"steady\"?), found a text",
        ),
        (
            json!({ "mode": 1 }),
            "c.mode: expected fast, slow or steady, found a number",
        ),
        (
            json!({ "retry": { "tims": 1 } }),
            "c.retry.tims: unknown field, did you mean \"times\"?",
        ),
        (
            json!({ "retry": { "times": "x" } }),
            "c.retry.times: expected a whole number, found a text",
        ),
        (json!({ "retry": 5 }), "c.retry: expected a mapping, found a number"),
        (
            json!({ "zones": ["a", "b", "c"] }),
            "c.zones: expected at most 2 entries, found 3",
        ),
        (
            json!({ "zones": ["a", "a"] }),
            "c.zones[1]: this entry is there twice, expected each once",
        ),
        (
            json!({ "zones": ["a", 1] }),
            "c.zones[1]: expected a text, found a number",
        ),
        (json!({ "zones": {} }), "c.zones: expected a list, found a mapping"),
        (
            json!({ "capacity": { "a/b c": true } }),
            "c.capacity[\"a/b c\"]: expected a text or a whole number, found true or false",
        ),
        (json!({ "pair": ["a"] }), "c.pair: expected at least 2 entries, found 1"),
        (
            json!({ "pair": ["a", 1] }),
            "c.pair[1]: expected true or false, found a number",
        ),
        (
            json!({ "backend": {} }),
            "c.backend.kind: missing, expected memory or external",
        ),
        (
            json!({ "backend": { "kind": "extrenal" } }),
            "c.backend.kind: expected memory or external (did you mean \"external\"?)",
        ),
        (
            json!({ "backend": { "kind": "external" } }),
            "c.backend.socket: missing, expected a text",
        ),
        (
            json!({ "backend": { "kind": "external", "socket": 1 } }),
            "c.backend.socket: expected a text, found a number",
        ),
        (
            json!({ "backend": { "kind": "memory", "socket": "s" } }),
            "c.backend.socket: unknown field, expected one of kind",
        ),
        (json!({ "sed": 1 }), "c.sed: unknown field, did you mean \"seed\"?"),
    ] {
        assert_eq!(sample_faults(section.clone()), [expected], "{section}");
    }
    assert_eq!(faults(sample(), json!({})), ["c.endpoint: missing, expected a text"]);
    assert_eq!(
        faults(sample(), json!({ "endpont": "x" })),
        ["c.endpont: unknown field, did you mean \"endpoint\"?"]
    );
    assert_eq!(
        faults(sample(), json!({ "endpoint": "" })),
        ["c.endpoint: expected at least 1 characters, found 0"]
    );
    assert_eq!(faults(sample(), json!([])), ["c: expected a mapping, found a list"]);
}

#[test]
fn all_faults_are_found_at_once_each_with_its_line() {
    let mut positions = SectionPositions {
        file: "x.yaml".to_owned(),
        path: "providers[0].config".to_owned(),
        at: [].into(),
    };
    for (pointer, line) in [("", 3), ("/seed", 4), ("/zones", 6), ("/zones/1", 8), ("/odd~1key", 9)] {
        positions.at.insert(pointer.to_owned(), Position { line, column: 5 });
    }
    let section = json!({ "seed": -1, "zones": ["a", 5], "odd/key": "hunter2" });
    let found: Vec<_> = validate(&section, &positions, &sample())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "x.yaml:3:5: providers[0].config.endpoint: missing, expected a text",
            "x.yaml:4:5: providers[0].config.seed: expected at least 0",
            "x.yaml:8:5: providers[0].config.zones[1]: expected a text, found a number",
            "x.yaml:9:5: providers[0].config[\"odd/key\"]: unknown field, expected one of backend, capacity, delay, endpoint, mode, pair, rate, retry, seed, zones",
        ]
    );
}

#[test]
fn flattened_and_pattern_fields_are_known() {
    let flattened = json!({
        "type": "object",
        "properties": { "a": { "type": "integer" } },
        "allOf": [{ "$ref": "#/$defs/More" }],
        "unevaluatedProperties": false,
        "$defs": { "More": { "type": "object", "properties": { "b": { "type": "integer" } } } }
    });
    assert_eq!(
        faults(flattened.clone(), json!({ "a": 1, "b": 2 })),
        Vec::<String>::new()
    );
    assert_eq!(
        faults(flattened, json!({ "b": "x", "c": 2 })),
        [
            "c.c: unknown field, expected one of a, b",
            "c.b: expected a whole number, found a text"
        ]
    );
    let patterns = json!({ "patternProperties": { "^x-": { "type": "boolean" } }, "additionalProperties": false });
    assert_eq!(faults(patterns.clone(), json!({ "x-a": true })), Vec::<String>::new());
    assert_eq!(
        faults(patterns, json!({ "x-a": 1, "y": 2 })),
        [
            "c.x-a: expected true or false, found a number",
            "c.y: unknown field, none is expected here",
        ]
    );
}

#[test]
fn combinations_and_limits_follow_the_standard() {
    assert_eq!(
        faults(json!({ "oneOf": [{ "type": "object" }, {}] }), json!({})),
        ["c: it fits several alternatives, expected one"]
    );
    assert_eq!(
        faults(json!({ "not": { "type": "object" } }), json!({})),
        ["c: the plugin does not allow this value"]
    );
    assert_eq!(
        faults(json!({ "minProperties": 1 }), json!({})),
        ["c: expected at least 1 fields, found 0"]
    );
    let number = |keyword: &str, limit: f64| json!({ "properties": { "n": { keyword: limit } } });
    for (keyword, limit, good, bad) in [
        ("exclusiveMinimum", 1.0, 1.5, 1.0),
        ("exclusiveMaximum", 1.0, 0.5, 1.0),
        ("minimum", 1.0, 1.0, 0.5),
        ("maximum", 1.0, 1.0, 1.5),
        ("multipleOf", 0.5, 1.5, 1.2),
        ("multipleOf", 0.1, 0.3, 0.35),
        ("multipleOf", 0.01, 123_456.78, 123_456.785),
        ("multipleOf", 0.1, 0.0, 1e-20),
    ] {
        assert_eq!(
            faults(number(keyword, limit), json!({ "n": good })).len(),
            0,
            "{keyword}"
        );
        assert_eq!(
            faults(number(keyword, limit), json!({ "n": bad })).len(),
            1,
            "{keyword}"
        );
    }
}

#[test]
fn a_schema_without_end_is_stopped() {
    let found = faults(json!({ "$ref": "#" }), json!({}));
    assert_eq!(
        found,
        ["c: unable to check it: nested too deep, or the plugin's schema refers to itself"]
    );
    let list = json!({ "type": "object", "properties": { "next": { "$ref": "#" } }, "additionalProperties": false });
    assert_eq!(
        faults(list.clone(), json!({ "next": { "next": {} } })),
        Vec::<String>::new()
    );
    assert_eq!(
        faults(list, json!({ "next": { "nxt": {} } })),
        ["c.next.nxt: unknown field, did you mean \"next\"?"]
    );
}

#[test]
fn no_value_of_a_section_is_part_of_a_message() {
    let secret = "hunter2";
    for section in [
        json!({ "seed": secret }),
        json!({ "mode": secret }),
        json!({ "delay": secret }),
        json!({ "backend": secret }),
        json!({ "backend": { "kind": secret } }),
        json!({ "retry": [secret] }),
        json!({ "capacity": { "x": [secret] } }),
    ] {
        let found = sample_faults(section.clone());
        assert!(
            !found.is_empty() && !found.join("").contains(secret),
            "{section} {found:?}"
        );
    }
}
