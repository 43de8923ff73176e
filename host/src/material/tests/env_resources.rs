//! Variables from resources of containers.

use super::{check_env, gives, holds};
use serde_json::{Value, json};

const CONVERT: &str = "pkg/api/v1/resource ExtractContainerResourceValue";
const DEFAULT: &str = "kubelet defaultPodLimitsForDownwardAPI";

/// A container with this limit and request that asks for `resource`.
fn ask(resource: &str, divisor: &str, limits: Value) -> Value {
    json!({
        "resources": { "limits": limits, "requests": { "cpu": "250m", "memory": "64Mi" } },
        "env": [{ "name": "X", "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } }],
    })
}

#[test]
fn resources_and_divisors_vk_1032() {
    let limits = || json!({ "cpu": "1500m", "memory": "129M", "ephemeral-storage": "2Gi", "hugepages-2Mi": "4Mi" });
    check_env(vec![
        gives(
            "cpu in cores, rounded up",
            CONVERT,
            ask("limits.cpu", "1", limits()),
            ["X=2"],
        ),
        gives("no divisor is 1", CONVERT, ask("limits.cpu", "0", limits()), ["X=2"]),
        gives(
            "cpu in thousandths",
            CONVERT,
            ask("limits.cpu", "1m", limits()),
            ["X=1500"],
        ),
        gives(
            "a request of cpu",
            CONVERT,
            ask("requests.cpu", "1m", limits()),
            ["X=250"],
        ),
        gives(
            "a request of cpu in cores",
            CONVERT,
            ask("requests.cpu", "1", limits()),
            ["X=1"],
        ),
        gives(
            "memory in bytes",
            CONVERT,
            ask("limits.memory", "1", limits()),
            ["X=129000000"],
        ),
        gives(
            "memory in mebibytes, rounded up",
            CONVERT,
            ask("limits.memory", "1Mi", limits()),
            ["X=124"],
        ),
        gives(
            "memory in megabytes",
            CONVERT,
            ask("limits.memory", "1M", limits()),
            ["X=129"],
        ),
        gives(
            "a request of memory",
            CONVERT,
            ask("requests.memory", "1Ki", limits()),
            ["X=65536"],
        ),
        gives(
            "storage",
            CONVERT,
            ask("limits.ephemeral-storage", "1Gi", limits()),
            ["X=2"],
        ),
        gives(
            "a request that there isn't",
            CONVERT,
            ask("requests.ephemeral-storage", "1", limits()),
            ["X=0"],
        ),
        gives(
            "huge pages",
            CONVERT,
            ask("limits.hugepages-2Mi", "1Mi", limits()),
            ["X=4"],
        ),
        gives(
            "huge pages of another size",
            CONVERT,
            ask("limits.hugepages-1Gi", "1", limits()),
            ["X=0"],
        ),
        holds(
            "another resource",
            CONVERT,
            ask("limits.example.com/gpu", "1", limits()),
            "unsupported container resource : limits.example.com/gpu",
        ),
        gives(
            "no limit of cpu: the node's",
            DEFAULT,
            ask("limits.cpu", "1m", json!({})),
            ["X=3920"],
        ),
        gives(
            "no limit of memory: the node's",
            DEFAULT,
            ask("limits.memory", "1Gi", json!({})),
            ["X=8"],
        ),
        gives(
            "no limit of storage: the node's",
            DEFAULT,
            ask("limits.ephemeral-storage", "1G", json!({})),
            ["X=100"],
        ),
        gives(
            "a limit of nothing: the node's",
            DEFAULT,
            ask("limits.cpu", "1", json!({ "cpu": "0" })),
            ["X=4"],
        ),
        gives(
            "no limit, but one of the pod",
            "kubelet defaultPodLimitsForDownwardAPI, KEP-2837",
            ask("limits.cpu", "1m", json!({})),
            ["X=700"],
        )
        .in_pod(json!({ "resources": { "limits": { "cpu": "700m" } } })),
        gives(
            "a limit beside one of the pod",
            DEFAULT,
            ask("limits.cpu", "1m", json!({ "cpu": "100m" })),
            ["X=100"],
        )
        .in_pod(json!({ "resources": { "limits": { "cpu": "700m" } } })),
        gives(
            "quantities as numbers",
            "apimachinery Quantity.UnmarshalJSON",
            ask("limits.cpu", "1m", json!({ "cpu": 2 })),
            ["X=2000"],
        ),
    ]);
}

#[test]
fn resources_of_other_containers() {
    let ask = |name: &str, resource: &str| {
        json!({ "env": [{ "name": "X", "valueFrom": { "resourceFieldRef": {
            "containerName": name, "resource": resource, "divisor": "1m" } } }] })
    };
    let others = || {
        json!({ "initContainers": [
            { "name": "first", "resources": { "limits": { "cpu": "10m" } } }, { "name": "second" }] })
    };
    let find = "pkg/api/v1/resource findContainerInPod";
    check_env(vec![
        gives("of itself by name", find, ask("app", "limits.cpu"), ["X=3920"]),
        gives("of an init container", find, ask("first", "limits.cpu"), ["X=10"]).in_pod(others()),
        gives(
            "of an init container without: nothing",
            DEFAULT,
            ask("second", "limits.cpu"),
            ["X=0"],
        )
        .in_pod(others()),
        holds(
            "of nobody",
            find,
            ask("ghost", "limits.cpu"),
            "container ghost not found",
        ),
    ]);
}
