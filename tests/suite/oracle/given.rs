//! What a container is given, seen from within: the kubelet's by a command whose output is its log, ours by what the mock
//! shows of what it was given.

use super::case::Case;
use super::compare;
use super::course::Facts;
use super::pair::OURS;
use super::pair::Pair;
use super::pair::THEIRS;
use super::words::Words;
use crate::harness::Shown;
use crate::harness::look;
use kube::api::LogParams;
use serde_json::Value;

/// Runs a pod on both nodes, of which a kubelet's prints what it was given and ends, and compares.
pub async fn same(
    pair: &Pair,
    name: &str,
    case: Case,
    theirs: impl Fn(&str) -> Vec<(String, String)>,
    ours: impl Fn(&Shown) -> Vec<(String, String)>,
) {
    let case = case.mock(&[("showMaterials", "true"), ("runTime", "100ms")]);
    pair.create(&case).await;
    let mut pods = Vec::new();
    for (pod, _) in pair.sides() {
        let pod = pair.test.pod_until(pod, "it has ended", case.until).await;
        pods.push(serde_json::to_value(pod).unwrap());
    }
    let log = pair.test.pods().logs(THEIRS, &LogParams::default()).await.unwrap();
    let shown = look(&pair.test, OURS).await.unwrap();
    let [kubelet, ours] = [(&pods[0], theirs(&log)), (&pods[1], ours(&shown))].map(|(pod, given)| facts(pod, given));
    assert!(!kubelet.is_empty(), "{log}");
    compare::assert_allowed(name, &compare::between(&kubelet, &ours));
}

fn facts(pod: &Value, given: Vec<(String, String)>) -> Facts {
    let words = Words::of(pod);
    let in_words = given.iter().map(|(path, value)| (words.text(path), words.text(value)));
    in_words.collect()
}
