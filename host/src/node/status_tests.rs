use super::*;

struct Fixture {
    node: NodeConfig,
    facts: Facts,
    verdict: Verdict,
    description: Option<NodeDescription>,
    unproven: bool,
    conditions: BTreeMap<String, NodeCondition>,
    features: Vec<&'static str>,
    images: Option<Vec<Value>>,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self {
            node: NodeConfig::new("vk", "mock-a"),
            facts: Facts {
                boot_id: "boot".into(),
                kernel_version: "6.8".into(),
                os_image: "Linux".into(),
                capacity: BTreeMap::from([("cpu".into(), "2".into()), ("pods".into(), "110".into())]),
            },
            verdict: Verdict::Healthy,
            description: Some(NodeDescription::default()),
            unproven: false,
            conditions: BTreeMap::new(),
            features: Vec::new(),
            images: None,
            now: Instant::now(),
        }
    }

    fn desired(&self) -> DesiredStatus {
        self.computed(false)
    }

    fn computed(&self, registering: bool) -> DesiredStatus {
        DesiredStatus::new(&Inputs {
            node: &self.node,
            plugin: ("mock", "0.1.0"),
            facts: &self.facts,
            address: Some("10.0.0.5".parse().unwrap()),
            port: 10250,
            declared_features: &self.features,
            images: self.images.as_deref(),
            verdict: &self.verdict,
            description: self.description.as_ref(),
            registering,
            unproven: self.unproven,
            conditions: &self.conditions,
            now: self.now,
        })
    }

    fn unhealthy(&mut self, since: Instant, never_ran: bool) {
        self.verdict = Verdict::Unhealthy {
            since,
            reason: "PingTimeout".into(),
            message: "no answer".into(),
            never_ran,
        };
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn live(desired: &DesiredStatus) -> Value {
    json!({ "metadata": { "uid": "u1" }, "status": desired.first(at("2026-11-23T06:00:00Z")) })
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or_else(|| panic!("no condition {kind} in {status}"))
}

#[test]
fn a_status_is_a_kubelets() {
    let status = Fixture::new().desired().first(at("2026-11-23T06:00:00Z"));
    assert_eq!(
        status["addresses"][0],
        json!({ "type": "InternalIP", "address": "10.0.0.5" })
    );
    assert_eq!(status["addresses"][1], json!({ "type": "Hostname", "address": "vk" }));
    assert_eq!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
    assert_eq!(status["capacity"], json!({ "cpu": "2", "pods": "110" }));
    let info = &status["nodeInfo"];
    assert_eq!(info["containerRuntimeVersion"], "mock://0.1.0");
    assert_eq!(
        info["kubeletVersion"],
        format!("v1.37.0-outrigger-{}", env!("CARGO_PKG_VERSION"))
    );
    for field in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "operatingSystem",
        "architecture",
    ] {
        assert!(!info[field].as_str().unwrap().is_empty(), "{field}");
    }
    for (kind, value, reason) in [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("ProviderHealthy", "True", "PingSucceeded"),
        ("Ready", "True", "KubeletReady"),
    ] {
        let condition = condition(&status, kind);
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!(value), &json!(reason)),
            "{kind}"
        );
    }
    assert_eq!(
        status["conditions"].as_array().unwrap().last().unwrap()["type"],
        "Ready"
    );
}

#[test]
fn the_configuration_replaces_what_the_provider_reports() {
    let mut fixture = Fixture::new();
    let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    fixture.description = Some(NodeDescription {
        capacity: of(&[("cpu", "64"), ("pods", "100000"), ("example.com/gpu", "8")]),
        allocatable: of(&[("cpu", "60"), ("pods", "90000")]),
        ..NodeDescription::default()
    });
    fixture.node.capacity = of(&[("pods", "50")]);
    let status = fixture.desired().first(Timestamp::now());
    assert_eq!(
        status["capacity"],
        json!({ "cpu": "64", "pods": "50", "example.com/gpu": "8" })
    );
    assert_eq!(
        status["allocatable"],
        json!({ "cpu": "60", "pods": "50", "example.com/gpu": "8" })
    );
}

#[test]
fn a_node_that_was_made_for_a_provider_that_is_not_well_is_ready_once_that_is() {
    let mut fixture = Fixture::new();
    fixture.unproven = true;
    fixture.unhealthy(fixture.now, false);
    let live = live(&fixture.desired());
    let ready = condition(&live["status"], "Ready");
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("KubeletNotReady"))
    );
    fixture.verdict = Verdict::Healthy;
    assert!(fixture.desired().is_ready());
}

#[test]
fn an_unhealthy_provider_is_told_at_once_and_ready_follows_later() {
    let mut fixture = Fixture::new();
    fixture.node.not_ready_after = NotReadyAfter::After(Duration::from_secs(60));
    let since = fixture.now;
    fixture.unhealthy(since, false);
    let status = fixture.desired().first(Timestamp::now());
    let healthy = condition(&status, PROVIDER_HEALTHY);
    assert_eq!(
        (&healthy["status"], &healthy["reason"]),
        (&json!("False"), &json!("PingTimeout"))
    );
    assert!(fixture.desired().is_ready());
    fixture.now = since + Duration::from_millis(59_999);
    assert!(fixture.desired().is_ready());
    fixture.now = since + Duration::from_secs(60);
    assert!(!fixture.desired().is_ready());
    assert_eq!(
        fixture.desired().ready_because(),
        ("KubeletNotReady", "the provider is unhealthy: no answer")
    );
}

#[test]
fn never_means_never_unless_the_provider_never_ran() {
    let mut fixture = Fixture::new();
    fixture.node.not_ready_after = NotReadyAfter::Never;
    let since = fixture.now;
    fixture.now = since + Duration::from_secs(86_400);
    fixture.unhealthy(since, false);
    assert!(fixture.desired().is_ready());
    fixture.unhealthy(fixture.now, true);
    assert!(!fixture.desired().is_ready());
}

#[test]
fn the_provider_can_make_its_node_unready_but_not_ready() {
    let mut fixture = Fixture::new();
    let ready = |status| {
        Some(NodeDescription {
            conditions: vec![NodeCondition {
                kind: "Ready".into(),
                status,
                reason: "BackendDown".into(),
                message: "m".into(),
            }],
            ..NodeDescription::default()
        })
    };
    fixture.description = ready(Some(false));
    assert!(!fixture.desired().is_ready());
    assert_eq!(fixture.desired().ready_because(), ("BackendDown", "m"));
    fixture.description = ready(Some(true));
    assert!(fixture.desired().is_ready());
    let now = fixture.now;
    fixture.unhealthy(now, true);
    assert!(!fixture.desired().is_ready());
}

#[test]
fn times_of_transition_change_with_the_status_only() {
    let mut fixture = Fixture::new();
    let live = live(&fixture.desired());
    fixture.unhealthy(fixture.now, true);
    let patch = fixture.desired().patch(&live, None, at("2026-11-23T07:00:00Z"));
    let memory = condition(&patch["status"], "MemoryPressure");
    assert_eq!(memory["lastTransitionTime"], "2026-11-23T06:00:00Z");
    assert_eq!(memory["lastHeartbeatTime"], "2026-11-23T07:00:00Z");
    let ready = condition(&patch["status"], "Ready");
    assert_eq!(ready["lastTransitionTime"], "2026-11-23T07:00:00Z");
}

#[test]
fn a_heartbeat_carries_conditions_only() {
    let desired = Fixture::new().desired();
    let patch = desired.patch(&live(&desired), Some(&desired), Timestamp::now());
    assert_eq!(patch["metadata"], json!({ "uid": "u1" }));
    assert_eq!(
        patch["status"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["conditions"]
    );
}

#[test]
fn addresses_are_replaced_as_a_whole() {
    let desired = Fixture::new().desired();
    let mut live = live(&desired);
    live["status"]["addresses"][0]["address"] = json!("10.0.0.4");
    let patch = desired.patch(&live, Some(&desired), Timestamp::now());
    let addresses = patch["status"]["addresses"].as_array().unwrap();
    assert_eq!(addresses.last(), Some(&json!({ "$patch": "replace" })));
    assert_eq!(addresses.len(), 3);
}

#[test]
fn what_others_wrote_is_neither_touched_nor_a_change() {
    let desired = Fixture::new().desired();
    let mut live = live(&desired);
    let before = desired.observe(&live);
    live["status"]["capacity"]["example.com/theirs"] = json!("4");
    let theirs = json!({ "type": "NetworkUnavailable", "status": "False" });
    live["status"]["conditions"].as_array_mut().unwrap().push(theirs);
    live["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-11-23T09:00:00Z");
    assert_eq!(desired.observe(&live), before);
    let patch = desired.patch(&live, Some(&desired), Timestamp::now()).to_string();
    assert!(
        !patch.contains("theirs") && !patch.contains("NetworkUnavailable"),
        "{patch}"
    );
    live["status"]["conditions"][0]["status"] = json!("Unknown");
    assert_ne!(desired.observe(&live), before);
}

#[test]
fn what_is_no_longer_ours_is_removed() {
    let mut fixture = Fixture::new();
    fixture.facts.capacity.insert("example.com/gpu".into(), "8".into());
    let held = NodeCondition {
        kind: "OrphansHeld".into(),
        status: Some(true),
        reason: "TooMany".into(),
        message: String::new(),
    };
    fixture.conditions.insert(held.kind.clone(), held);
    let before = fixture.desired();
    let live = live(&before);
    fixture.conditions.clear();
    fixture.facts.capacity.remove("example.com/gpu");
    let patch = fixture.desired().patch(&live, Some(&before), Timestamp::now());
    assert_eq!(condition(&patch["status"], "OrphansHeld")["$patch"], "delete");
    // The map itself looks unchanged when it is cut to our keys; it must be sent for the removal.
    assert_eq!(patch["status"]["capacity"]["example.com/gpu"], Value::Null);
    assert!(
        patch["status"]["capacity"]
            .as_object()
            .unwrap()
            .contains_key("example.com/gpu")
    );
}

#[test]
fn without_a_description_capacity_and_runtime_stay() {
    let mut fixture = Fixture::new();
    let live = live(&fixture.desired());
    fixture.description = None;
    let desired = fixture.desired();
    let patch = desired.patch(&live, None, Timestamp::now());
    assert!(patch["status"].get("capacity").is_none() && patch["status"].get("nodeInfo").is_none());
    let first = fixture.computed(true).first(Timestamp::now());
    assert!(first.get("capacity").is_none(), "a node without capacity gets no pods");
    assert_eq!(first["nodeInfo"]["operatingSystem"], "linux");
}

#[test]
fn the_resend_is_shifted_by_half_after_a_change() {
    let interval = Duration::from_secs(300);
    assert_eq!(resend_delay(interval, false), interval);
    for _ in 0..1_000 {
        let delay = resend_delay(interval, true);
        assert!(delay >= interval / 2 && delay <= interval * 3 / 2, "{delay:?}");
    }
}

#[test]
fn features_are_declared_and_taken_back() {
    let mut fixture = Fixture::new();
    let now = at("2026-11-23T06:00:00Z");
    let without = fixture.desired();
    assert!(without.first(now)["declaredFeatures"].is_null());
    let plain = live(&without);
    assert!(without.patch(&plain, None, now)["status"]["declaredFeatures"].is_null());

    fixture.features = vec!["ExtendWebSocketsToKubelet"];
    let with = fixture.desired();
    let expected = json!(["ExtendWebSocketsToKubelet"]);
    assert_eq!(with.first(now)["declaredFeatures"], expected);
    assert_eq!(with.patch(&plain, None, now)["status"]["declaredFeatures"], expected);
    let declared = live(&with);
    assert!(with.patch(&declared, None, now)["status"]["declaredFeatures"].is_null());
    // Also by a host that knows nothing of the one that declared it.
    assert_eq!(
        without.patch(&declared, None, now)["status"]["declaredFeatures"],
        json!([])
    );
}

#[test]
fn images_are_written_as_a_whole_and_left_alone_where_they_are_not_known() {
    let mut fixture = Fixture::new();
    let now = at("2026-11-23T06:00:00Z");
    let without = fixture.desired();
    assert!(without.first(now)["images"].is_null());
    let image = |name: &str| json!({ "names": [name], "sizeBytes": 5 });
    fixture.images = Some(vec![image("a"), image("b")]);
    let two = fixture.desired();
    let patch = two.patch(&live(&without), Some(&without), now);
    assert_eq!(patch["status"]["images"], json!([image("a"), image("b")]));
    let known = live(&two);
    assert!(two.patch(&known, Some(&two), now)["status"]["images"].is_null());

    fixture.images = Some(vec![image("b")]);
    let one = fixture.desired();
    assert_eq!(
        one.patch(&known, Some(&two), now)["status"]["images"],
        json!([image("b")])
    );
    fixture.images = Some(Vec::new());
    let none = fixture.desired();
    assert_eq!(none.patch(&known, Some(&two), now)["status"]["images"], json!([]));
    assert!(without.patch(&known, None, now)["status"]["images"].is_null());
}

/// Who set it has ended since, and this process remembers nothing.
#[test]
fn a_condition_of_an_earlier_process_goes_with_its_cause() {
    let mut fixture = Fixture::new();
    let stands = json!({ "status": { "conditions": [{ "type": ORPHANED_PODS, "status": "True" }] } });
    let patched = |fixture: &Fixture, live: &Value| {
        let patch = fixture.desired().patch(live, None, Timestamp::now());
        let list = patch["status"]["conditions"].as_array().unwrap().clone();
        list.into_iter().find(|condition| condition["type"] == ORPHANED_PODS)
    };
    assert_eq!(patched(&fixture, &stands).unwrap()["$patch"], "delete");
    assert_eq!(patched(&fixture, &json!({})), None, "there is nothing to delete");
    let condition = NodeCondition {
        kind: ORPHANED_PODS.into(),
        status: Some(true),
        reason: "ConfirmationNeeded".into(),
        message: String::new(),
    };
    fixture.conditions.insert(ORPHANED_PODS.into(), condition);
    assert_eq!(patched(&fixture, &stands).unwrap()["status"], "True");
}
