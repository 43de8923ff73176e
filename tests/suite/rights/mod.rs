//! The role of `configs/rbac.yaml` is the smallest that works: without any one of its rights a thing breaks that has a name
//! in [`table`], and the host says which right it lacks; with all of them every one of these things works, and nothing is
//! denied.

mod role;
mod scene;
mod table;

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::skip;
pub use role::Right;
pub use role::Role;
use scene::Scene;
use scene::Stage;
use std::collections::HashSet;
use std::sync::Arc;
use table::FREE;
use table::Row;
use table::TABLE;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Hosts at a time: most of them wait most of the time, but each has to start.
const AT_A_TIME: usize = 10;

#[test]
fn every_right_has_a_row_and_every_row_a_right() {
    let shipped = Role::shipped().rights();
    let unique: HashSet<_> = shipped.iter().cloned().collect();
    assert_eq!(unique.len(), shipped.len(), "a right is granted twice");
    let rows: Vec<_> = TABLE.iter().map(Row::right).collect();
    let explained: HashSet<_> = rows.iter().cloned().collect();
    assert_eq!(explained.len(), rows.len(), "a right has two rows");
    let missing: Vec<_> = unique.difference(&explained).map(Right::to_string).collect();
    let spare: Vec<_> = explained.difference(&unique).map(Right::to_string).collect();
    assert!(missing.is_empty(), "nobody knows what these are for: {missing:?}");
    assert!(spare.is_empty(), "configs/rbac.yaml does not grant: {spare:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_one_right_something_breaks_and_with_all_of_them_nothing() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip("rights", "a development cluster has no RBAC; run `make test-cluster`");
    }
    let role = Arc::new(Role::shipped());
    let scenes: HashSet<Scene> = TABLE.iter().map(|row| row.scene).chain(FREE.iter().copied()).collect();
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut plays = JoinSet::new();
    for scene in scenes {
        let (role, places) = (Arc::clone(&role), Arc::clone(&places));
        plays.spawn(async move {
            let _place = places.acquire().await.unwrap();
            works(scene, &role).await
        });
    }
    for row in TABLE {
        let (role, places) = (Arc::clone(&role), Arc::clone(&places));
        plays.spawn(async move {
            let _place = places.acquire().await.unwrap();
            breaks(row, &role).await
        });
    }
    let mut faults = Vec::new();
    while let Some(play) = plays.join_next().await {
        match play {
            Ok(Ok(report)) => eprintln!("{report}"),
            Ok(Err(fault)) => faults.push(fault),
            Err(error) => {
                let panic = error.into_panic();
                let text = panic.downcast_ref::<String>().cloned();
                faults.push(text.unwrap_or_else(|| "it panicked".to_owned()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Plays a scene with all rights: it comes true, and nothing is denied.
async fn works(scene: Scene, role: &Role) -> Result<String, String> {
    let Some(mut stage) = set("rights-all", scene, role).await else {
        return Ok(format!("{scene:?}: not played"));
    };
    stage.begin(scene).await;
    stage.act(scene, true).await;
    let what = format!("{scene:?}, with all rights");
    eventually(SOON, &what, || stage.has_come_true(scene)).await;
    let denied = role::denials(&stage.told().await);
    match denied.is_empty() {
        true => Ok(format!("{what}: works")),
        false => Err(format!("{what}: works, but was denied {denied:?}")),
    }
}

/// Plays a scene without one right: the host is denied that and nothing else, says so, and it does not come true.
async fn breaks(row: &Row, role: &Role) -> Result<String, String> {
    let (right, scene) = (row.right(), row.scene);
    let Some(mut stage) = set("rights-less", scene, &role.without(&right)).await else {
        return Ok(format!("{right}: {scene:?}: not played"));
    };
    stage.begin(scene).await;
    if scene.begins_with(&right.verb) {
        says(&stage, row).await;
    }
    if right.verb == "watch" {
        // What it does once, at its start, is over.
        stage.until_the_next_renewal().await;
    }
    stage.act(scene, false).await;
    says(&stage, row).await;
    if right.verb == "watch" {
        stage.until_the_next_renewal().await;
    }
    if scene == Scene::Renews {
        stage
            .host
            .logs("unable to renew the node's lease in time, not acting for it")
            .await;
    }
    if stage.has_come_true(scene).await.is_ok() {
        return Err(format!(
            "{scene:?} works without the right to {right}: take it out of configs/rbac.yaml"
        ));
    }
    let denied = role::denials(&stage.told().await);
    match denied == [right.clone()] {
        true => Ok(format!("without the right to {right}: not {scene:?}; {:?}", row.says)),
        false => Err(format!("without the right to {right} the host was denied {denied:?}")),
    }
}

/// A host with this role; `None` where the cluster lacks what the scene is about.
async fn set(name: &str, scene: Scene, role: &Role) -> Option<Stage> {
    let test = Test::new(name).await;
    if let Some(reason) = scene.lacks(&test).await {
        skip(&format!("rights: {scene:?}"), reason);
        return None;
    }
    let (token, kubeconfig) = role.account(&test).await;
    Some(scene.stage(test, token, kubeconfig).await)
}

/// Waits until an operator can read which right is missing, and for what.
async fn says(stage: &Stage, row: &Row) {
    let denial = row.right().denial();
    let what = format!("without the right to {}, the host says {:?}", row.right(), row.says);
    eventually(SOON, &what, || async {
        let told = stage.told().await;
        let of_it = |line: &&str| line.contains(&denial);
        let lines: Vec<_> = told.lines().filter(of_it).collect();
        match lines.iter().any(|line| line.contains(row.says)) {
            true => Ok(()),
            false => Err(format!("of this it says {lines:?}")),
        }
    })
    .await;
}
