//! Resource quantities and the QoS class that follows from them.

use serde_json::Value;

/// Reads a quantity such as `100m`, `1.5Gi`, `2e3` into thousandths of its unit; `None` for what is none.
pub fn parse_milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor: f64 = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024f64,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let number: f64 = number.parse().ok()?;
    Some((number * factor * 1000.0).ceil() as i128)
}

/// A quantity in an object: a string, or a bare number.
pub fn milli(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse_milli(text),
        Value::Number(number) => parse_milli(&number.to_string()),
        _ => None,
    }
}

/// What a pod asks of its node, in thousandths: the sum of its containers or its largest init container, whichever is more,
/// with sidecars counted as containers, plus the overhead.
pub fn request(spec: &Value, resource: &str) -> i128 {
    let of = |c: &Value| milli(&c["resources"]["requests"][resource]).unwrap_or(0);
    let running: i128 = spec["containers"].as_array().into_iter().flatten().map(of).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for init in spec["initContainers"].as_array().into_iter().flatten() {
        if init["restartPolicy"] == "Always" {
            sidecars += of(init);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(init));
        }
    }
    (running + sidecars).max(peak) + milli(&spec["overhead"][resource]).unwrap_or(0)
}

/// `status.qosClass`: Guaranteed when every container limits cpu and memory and requests the same, BestEffort when none
/// asks for anything, else Burstable.
pub fn qos_class(spec: &Value) -> &'static str {
    let lists = [&spec["containers"], &spec["initContainers"]];
    let containers = lists.into_iter().filter_map(Value::as_array).flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let get = |what: &str| milli(&container["resources"][what][resource]).filter(|v| *v > 0);
            let (request, limit) = (get("requests"), get("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, expected) in [
            ("100m", Some(100)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("2e3", Some(2_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("x", None),
            ("1Qi", None),
        ] {
            assert_eq!(parse_milli(text), expected, "{text}");
        }
        assert_eq!(milli(&json!(2)), Some(2000));
    }

    #[test]
    fn qos_follows_the_rules() {
        let pod = |resources: Value| json!({"containers": [{"resources": resources}]});
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        assert_eq!(qos_class(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
        assert_eq!(qos_class(&pod(full)), "Guaranteed");
    }

    #[test]
    fn requests_add_up() {
        let spec = json!({"containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}}, {"resources": {"requests": {"cpu": "1"}}}]});
        assert_eq!(request(&spec, "cpu"), 1050);
        assert_eq!(request(&spec, "memory"), 0);
    }
}
