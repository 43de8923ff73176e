//! ConfigMaps, or Secrets, by namespace and name: each followed alone, or a namespace as a whole where that is many.

use super::{
    Found, ThingId, What,
    board::Board,
    follow::{Content, Follower},
    reach::Reach,
    task,
    whole::{self, Wanted},
};
use std::{collections::HashMap, sync::Arc};
use tokio_util::task::AbortOnDropHandle;

/// A namespace in which fewer are followed is never watched as a whole.
const FEW: usize = 200;

/// What followers need.
pub struct Ground {
    pub reach: Arc<Reach>,
    pub board: Arc<Board>,
}

/// All of one kind.
pub struct Groups<T> {
    namespaces: HashMap<Box<str>, Group<T>>,
    /// Those with a watch of their own.
    alone: usize,
    /// The host may not watch a namespace as a whole.
    denied: bool,
}

struct Group<T> {
    names: HashMap<Arc<str>, ThingId>,
    whole: Option<Whole<T>>,
}

struct Whole<T> {
    id: ThingId,
    wanted: Arc<Wanted<T>>,
    _task: AbortOnDropHandle<()>,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self {
            namespaces: HashMap::new(),
            alone: 0,
            denied: false,
        }
    }
}

impl<T: Content> Groups<T> {
    /// Those with a watch of their own.
    pub fn alone(&self) -> usize {
        self.alone
    }

    /// The one of that name, if it is followed.
    pub fn find(&self, namespace: &str, name: &str) -> Option<ThingId> {
        self.namespaces.get(namespace)?.names.get(name).copied()
    }

    /// Begins to follow one.
    pub fn begin(&mut self, ground: &Ground, id: ThingId, namespace: &str, name: &Arc<str>) -> AbortOnDropHandle<()> {
        let group = self.namespaces.entry(namespace.into()).or_insert_with(|| Group {
            names: HashMap::new(),
            whole: None,
        });
        group.names.insert(name.clone(), id);
        let Some(whole) = &group.whole else {
            self.alone += 1;
            return alone::<T>(ground, id, namespace, name);
        };
        whole.wanted.add(name.clone(), id);
        let (reach, board) = (ground.reach.clone(), ground.board.clone());
        let wanted = whole.wanted.clone();
        task(whole::fetch(
            reach,
            board,
            id,
            path::<T>(namespace),
            name.clone(),
            wanted,
        ))
    }

    /// Forgets one.
    pub fn end(&mut self, namespace: &str, name: &str) {
        let Some(group) = self.namespaces.get_mut(namespace) else {
            return;
        };
        if group.names.remove(name).is_none() {
            return;
        }
        match &group.whole {
            Some(whole) => whole.wanted.remove(name),
            None => self.alone -= 1,
        }
        if group.names.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// The largest namespace whose objects have watches of their own, and could do with one: how many there are.
    pub fn crowd(&self) -> Option<(&str, usize)> {
        if self.denied {
            return None;
        }
        let alone = self.namespaces.iter().filter(|(_, group)| group.whole.is_none());
        alone
            .map(|(namespace, group)| (&**namespace, group.names.len()))
            .filter(|(_, count)| *count >= FEW)
            .max_by_key(|(_, count)| *count)
    }

    /// Watches a namespace as a whole from now on. Returns what needs no follower of its own any more. `known` is what is
    /// known of each.
    pub fn gather<'w>(
        &mut self,
        ground: &Ground,
        id: ThingId,
        namespace: &str,
        known: impl Fn(ThingId) -> Option<&'w What>,
    ) -> Vec<ThingId> {
        let Some(group) = self.namespaces.get_mut(namespace) else {
            return Vec::new();
        };
        let all = group.names.iter().map(|(name, id)| {
            let known = known(*id).and_then(T::known).cloned().unwrap_or(Found::Unknown);
            (name.clone(), *id, known)
        });
        let wanted = Arc::new(Wanted::of(all));
        let (reach, board) = (ground.reach.clone(), ground.board.clone());
        let following = whole::follow(reach, board, id, path::<T>(namespace), wanted.clone());
        group.whole = Some(Whole {
            id,
            wanted,
            _task: task(following),
        });
        self.alone -= group.names.len();
        tracing::info!(
            namespace,
            kind = T::PLURAL,
            count = group.names.len(),
            "watching a namespace as a whole"
        );
        group.names.values().copied().collect()
    }

    /// The watch of that id may not be: each gets its own again, and so it stays. `None` if it is no watch of these.
    pub fn scatter(&mut self, ground: &Ground, id: ThingId) -> Option<Vec<(ThingId, AbortOnDropHandle<()>)>> {
        let of = |group: &Group<T>| group.whole.as_ref().is_some_and(|whole| whole.id == id);
        let (namespace, group) = self.namespaces.iter_mut().find(|(_, group)| of(group))?;
        group.whole = None;
        self.denied = true;
        self.alone += group.names.len();
        let followers = group.names.iter();
        Some(
            followers
                .map(|(name, id)| (*id, alone::<T>(ground, *id, namespace, name)))
                .collect(),
        )
    }
}

fn alone<T: Content>(ground: &Ground, id: ThingId, namespace: &str, name: &Arc<str>) -> AbortOnDropHandle<()> {
    let (reach, board) = (ground.reach.clone(), ground.board.clone());
    task(Follower::<T>::new(reach, board, id, path::<T>(namespace), name.clone()).run())
}

/// The collection.
fn path<T: Content>(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{}", T::PLURAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster, config::ClusterConfig, material::ConfigMapData};

    /// Of a server that is not there.
    async fn ground() -> Ground {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "kind: Config\ncurrent-context: c\nusers: [{name: u, user: {token: t}}]\n\
            clusters: [{name: k, cluster: {server: 'http://127.0.0.1:1'}}]\n\
            contexts: [{name: c, context: {cluster: k, user: u}}]\n";
        std::fs::write(file.path(), text).unwrap();
        let config = ClusterConfig {
            kubeconfig: vec![file.path().to_owned()],
            ..ClusterConfig::default()
        };
        Ground {
            reach: Arc::new(Reach::new(&cluster::connect(&config).await.unwrap())),
            board: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_crowded_namespace_is_watched_as_a_whole_and_one_by_one_if_that_may_not_be() {
        let ground = ground().await;
        let mut groups = Groups::<ConfigMapData>::default();
        let mut tasks = Vec::new();
        for (namespace, count) in [("few", FEW - 1), ("many", FEW), ("most", FEW + 5)] {
            for name in 0..count {
                let id = ThingId(u64::try_from(tasks.len()).unwrap());
                tasks.push(groups.begin(&ground, id, namespace, &name.to_string().into()));
            }
        }
        let all = tasks.len();
        assert_eq!((groups.alone(), groups.crowd()), (all, Some(("most", FEW + 5))));
        let whole = ThingId(100_000);
        assert_eq!(groups.gather(&ground, whole, "most", |_| None).len(), FEW + 5);
        assert_eq!((groups.alone(), groups.crowd()), (all - FEW - 5, Some(("many", FEW))));

        // One more of it has no watch of its own.
        let _fetch = groups.begin(&ground, ThingId(100_001), "most", &"new".into());
        assert_eq!(groups.alone(), all - FEW - 5);
        groups.end("most", "new");
        assert_eq!(groups.find("most", "new"), None);

        assert!(groups.scatter(&ground, ThingId(7)).is_none());
        assert_eq!(groups.scatter(&ground, whole).unwrap().len(), FEW + 5);
        assert_eq!((groups.alone(), groups.crowd()), (all, None));
        groups.end("few", "0");
        assert_eq!(groups.alone(), all - 1);
    }
}
