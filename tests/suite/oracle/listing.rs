//! The pods that a kubelet port lists: which fields there are.

use super::answers::ask;
use super::answers::pods;
use super::compare;
use super::course::Facts;
use super::pair::Pair;
use crate::harness::SOON;
use crate::harness::eventually;
use serde_json::Value;

/// The pod of this name in a list, which has pods of other tests as well.
fn find<'a>(list: &'a Value, namespace: &str, pod: &str) -> Option<&'a Value> {
    let is_it = |item: &&Value| item["metadata"]["name"] == pod && item["metadata"]["namespace"] == namespace;
    list["items"].as_array()?.iter().find(is_it)
}

/// The fields of a list, of a pod in it, and of the first container of that one's status.
fn shape(list: &Value, pod: &Value) -> Facts {
    let mut facts = Facts::new();
    let mut note = |place: &str, value: &Value| {
        for (field, _) in value.as_object().into_iter().flatten() {
            facts.insert(format!("{place}.{field}"), "is there".to_owned());
        }
    };
    note("list", list);
    note("pod", pod);
    for part in ["metadata", "spec", "status"] {
        note(part, &pod[part]);
    }
    note("container", &pod["status"]["containerStatuses"][0]);
    facts.insert("kind".to_owned(), format!("{} {}", list["kind"], list["apiVersion"]));
    facts
}

#[tokio::test]
async fn about_its_pods() {
    let Some(pair) = Pair::new("or_pods").await else {
        return;
    };
    pods(&pair).await;
    for path in ["pods", "runningpods/"] {
        let mut both = Vec::new();
        for (pod, node) in pair.sides() {
            let path = format!("/api/v1/nodes/{node}/proxy/{path}");
            let facts = eventually(SOON, "the pod is in the list", || async {
                let answer = ask(&pair.test, "GET", &path).await;
                let list: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
                let found = find(&list, &pair.test.id, pod).map(|pod| shape(&list, pod));
                found.ok_or(answer.body)
            });
            both.push(facts.await);
        }
        let name = format!("port {}", path.trim_end_matches('/'));
        compare::assert_allowed(&name, &compare::between(&both[0], &both[1]));
    }
}
