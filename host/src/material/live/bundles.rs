//! ClusterTrustBundles (KEP-3257): one watch of all of them, while some pod projects one, as the kubelet has it.

use super::{
    Found, ThingId,
    board::{Board, News},
    certificates::GROUP,
    reach::{Failures, Reach},
};
use crate::{
    cluster::{
        ApiError, Watch,
        watch::{Event, Target},
    },
    material::TrustBundleSpec,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const BUNDLES: &str = "clustertrustbundles";
/// Until the API server is asked again whether it has the API.
const AGAIN: Duration = Duration::from_secs(60);

/// All bundles.
#[derive(Default)]
pub struct Bundles(Mutex<Table>);

#[derive(Default)]
struct Table {
    synced: bool,
    trouble: Option<String>,
    bundles: BTreeMap<Box<str>, Bundle>,
}

#[derive(Clone, PartialEq, Eq)]
struct Bundle {
    signer: String,
    labels: BTreeMap<String, String>,
    anchors: Arc<str>,
}

impl Bundles {
    /// The bundles that are selected.
    pub fn find(&self, spec: &TrustBundleSpec) -> Found<Vec<Arc<str>>> {
        let table = self.table();
        if !table.synced {
            return table.trouble.clone().map_or(Found::Unknown, Found::Unavailable);
        }
        let found: Vec<Arc<str>> = match spec {
            TrustBundleSpec::Named(name) => table.bundles.get(name.as_str()).into_iter().collect(),
            TrustBundleSpec::Signed { signer, selector } => {
                let selected = |bundle: &&Bundle| {
                    bundle.signer == *signer
                        && selector
                            .as_ref()
                            .is_some_and(|selector| selector.matches(&bundle.labels))
                };
                table.bundles.values().filter(selected).collect::<Vec<_>>()
            }
        }
        .into_iter()
        .map(|bundle| bundle.anchors.clone())
        .collect();
        if found.is_empty() {
            return Found::Missing;
        }
        Found::Here(found)
    }

    /// Whether the first answer is still to come.
    pub fn is_unknown(&self) -> bool {
        let table = self.table();
        !table.synced && table.trouble.is_none()
    }

    /// Follows them until it is dropped.
    pub async fn follow(self: Arc<Self>, reach: Arc<Reach>, board: Arc<Board>, id: ThingId) {
        loop {
            match reach.certificates_version(BUNDLES).await {
                Ok(Some(version)) => {
                    self.watch(&reach, &board, id, version).await;
                }
                Ok(None) => self.fail(&board, id, "the API server has no ClusterTrustBundles".to_owned()),
                Err(error) => {
                    reach.report(BUNDLES, &error);
                    self.fail(&board, id, error.to_string());
                }
            }
            let again = AGAIN.mul_f64(0.8 + 0.4 * fastrand::f64());
            reach.trunks.requests.pause(Duration::ZERO, again).await;
        }
    }

    /// Returns when the API has gone.
    async fn watch(&self, reach: &Reach, board: &Board, id: ThingId, version: &str) {
        let target = Target::new(BUNDLES, format!("{GROUP}/{version}/{BUNDLES}")).quiet();
        let mut watch = Watch::new(reach.trunks.requests.clone(), target);
        let mut failures = Failures::default();
        // While a list is read, what it shows.
        let mut listed = None;
        loop {
            match watch.try_next().await {
                Ok(Event::Restarted) => listed = Some(HashSet::new()),
                Ok(Event::Listed { .. }) => {}
                Ok(Event::Apply(raw)) => {
                    let Some((name, bundle)) = read(&raw) else { continue };
                    if let Some(listed) = &mut listed {
                        listed.insert(name.clone());
                    }
                    if self.table().set(name, Some(bundle)) {
                        board.tell(id, News::Table);
                    }
                }
                Ok(Event::Delete(raw)) => {
                    if let Some((name, _)) = read(&raw)
                        && self.table().set(name, None)
                    {
                        board.tell(id, News::Table);
                    }
                }
                Ok(Event::Synced) => {
                    failures.clear();
                    self.table().synced(&listed.take().unwrap_or_default());
                    board.tell(id, News::Table);
                }
                Err(ApiError::NotFound(_)) => return,
                Err(error) => {
                    reach.report(BUNDLES, &error);
                    if failures.tells(&error) {
                        self.fail(board, id, error.to_string());
                    }
                }
            }
            watch.settle();
        }
    }

    fn fail(&self, board: &Board, id: ThingId, why: String) {
        let mut table = self.table();
        if !table.synced && table.trouble.as_ref() != Some(&why) {
            table.trouble = Some(why);
            drop(table);
            board.tell(id, News::Table);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether that is news.
    fn set(&mut self, name: Box<str>, bundle: Option<Bundle>) -> bool {
        match bundle {
            Some(bundle) if self.bundles.get(&name) == Some(&bundle) => false,
            Some(bundle) => {
                self.bundles.insert(name, bundle);
                self.synced
            }
            None => self.bundles.remove(&name).is_some(),
        }
    }

    fn synced(&mut self, listed: &HashSet<Box<str>>) {
        self.bundles.retain(|name, _| listed.contains(name));
        self.synced = true;
        self.trouble = None;
    }
}

/// A bundle and its name. `None` when it can't be read, which is logged.
fn read(raw: &[u8]) -> Option<(Box<str>, Bundle)> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: Box<str>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        #[serde(default)]
        signer_name: String,
        trust_bundle: String,
    }
    let object: Object = serde_json::from_slice(raw)
        .inspect_err(|error| tracing::warn!(%error, "unable to read a cluster trust bundle"))
        .ok()?;
    let bundle = Bundle {
        signer: object.spec.signer_name,
        labels: object.metadata.labels,
        anchors: object.spec.trust_bundle.into(),
    };
    Some((object.metadata.name, bundle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::material::{LabelSelector, Operator, Requirement};

    fn raw(name: &str, signer: &str, label: &str) -> Vec<u8> {
        serde_json::json!({
            "metadata": { "name": name, "labels": { "live": label } },
            "spec": { "signerName": signer, "trustBundle": format!("anchors of {name}") },
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn bundles_are_found_by_name_and_by_signer_with_labels() {
        let bundles = Bundles::default();
        let named = TrustBundleSpec::Named("a".to_owned());
        assert!(matches!(bundles.find(&named), Found::Unknown));
        let mut listed = HashSet::new();
        for (name, signer, label) in [("a", "", "yes"), ("s:1", "s", "yes"), ("s:2", "s", "no")] {
            let (name, bundle) = read(&raw(name, signer, label)).unwrap();
            listed.insert(name.clone());
            assert!(
                !bundles.table().set(name, Some(bundle)),
                "no news before the first list is complete"
            );
        }
        bundles.table().synced(&listed);
        assert_eq!(bundles.find(&named), Found::Here(vec!["anchors of a".into()]));
        let signed = |selector| TrustBundleSpec::Signed {
            signer: "s".to_owned(),
            selector,
        };
        let selector = LabelSelector {
            requirements: vec![Requirement {
                key: "live".to_owned(),
                operator: Operator::In,
                values: vec!["yes".to_owned()],
            }],
        };
        assert_eq!(
            bundles.find(&signed(Some(selector))),
            Found::Here(vec!["anchors of s:1".into()])
        );
        assert!(matches!(bundles.find(&signed(None)), Found::Missing));
        let Found::Here(all) = bundles.find(&signed(Some(LabelSelector::default()))) else {
            panic!("none")
        };
        assert_eq!(all.len(), 2);
        assert!(bundles.table().set("a".into(), None));
        assert!(matches!(bundles.find(&named), Found::Missing));
    }
}
