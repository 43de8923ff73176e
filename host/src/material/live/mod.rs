//! The objects that pods of ours refer to, as they are now.
//!
//! ```text
//!  resolve(pod) ──asks──▶ things ◀──news── board ◀──tell── follower of a ConfigMap or Secret   (one each)
//!       │                   │ users                        keeper of a token, of a certificate (one per pod)
//!       ▼                   ▼                              watch of all Services, of all ClusterTrustBundles
//!   Materials         pods to look at again
//! ```
//!
//! A thing is what one task follows. It is begun when the first pod asks for it and ends when the last one is released,
//! so only what pods of ours refer to is read and watched, each object once however many pods use it. Its content is
//! shared by all of them.
//!
//! [`Live`] belongs to one task, and nothing in it waits. What the followers learn comes over a board that holds the
//! newest word on each thing, so neither side can outrun the other.

mod acting;
mod asking;
mod board;
mod bundles;
mod certificates;
mod follow;
mod groups;
mod keys;
mod reach;
mod services;
mod tokens;
mod whole;

use super::{
    ConfigMapData, Context, Found, Held, PodCertificate, PodCertificateSpec, Resolved, SecretData, Token, TokenSpec,
};
use crate::cluster::Clients;
pub use acting::{Changes, Lives};

use asking::{Asked, Asking, New};
use board::{Board, News};
use bundles::Bundles;
use certificates::Certifier;
use futures::FutureExt;
use groups::{Ground, Groups};
use outrigger_plugin::PodIdentity;
use reach::Reach;
use services::Services;
use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
};
use tokens::{Desk, Keeper, Wanted};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// A pod's UID.
type Uid = Arc<str>;

/// Names a thing for as long as it is followed, and no other one ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ThingId(u64);

/// With more watches of single objects than this, the namespaces with most of them are watched as a whole.
const ALONE: usize = 2_000;

/// Everything that pods refer to, and which pods do.
pub struct Live {
    ground: Ground,
    /// Boxed, as a table has up to twice the room that it needs.
    things: HashMap<ThingId, Box<Thing>>,
    config_maps: Groups<ConfigMapData>,
    secrets: Groups<SecretData>,
    bundles: Option<ThingId>,
    services: Option<Watched>,
    /// From the first token on.
    keeper: Option<(Arc<Desk>, AbortOnDropHandle<()>)>,
    /// Which tokens there are: mostly a few kinds, which thousands of pods have.
    specs: HashSet<Arc<TokenSpec>>,
    /// What each pod refers to, sorted.
    pods: HashMap<Uid, Box<[ThingId]>>,
    last: u64,
}

struct Watched {
    id: ThingId,
    table: Arc<Services>,
    /// Pods that wait for the first list.
    awaited: HashSet<Uid>,
    _task: AbortOnDropHandle<()>,
}

struct Thing {
    what: What,
    users: Users,
    /// What follows it, where it has something of its own.
    task: Option<AbortOnDropHandle<()>>,
}

/// What is followed, and what is known of it.
enum What {
    ConfigMap {
        namespace: Box<str>,
        name: Arc<str>,
        known: Found<Arc<ConfigMapData>>,
        /// What it was when it was last there.
        last: Option<Arc<ConfigMapData>>,
    },
    Secret {
        namespace: Box<str>,
        name: Arc<str>,
        known: Found<Arc<SecretData>>,
        last: Option<Arc<SecretData>>,
    },
    Token {
        spec: Arc<TokenSpec>,
        known: Found<Arc<Token>>,
    },
    Certificate {
        /// UID of the node that it names.
        node: Arc<str>,
        spec: Arc<PodCertificateSpec>,
        known: Found<Arc<PodCertificate>>,
    },
    Bundles(Arc<Bundles>),
}

/// Who is told of a change.
enum Users {
    One(Uid),
    #[expect(
        clippy::box_collection,
        reason = "most things are tokens, of one pod each: a set in place would triple their size"
    )]
    Many(Box<HashSet<Uid>>),
}

/// A pod as [`Live::resolve`] needs it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Its UID; the one in [`identity`](Self::identity).
    pub uid: &'a Arc<str>,
    /// Who it is.
    pub identity: &'a Arc<PodIdentity>,
    /// UID of its node, if it is known.
    pub node: Option<&'a str>,
    /// JSON of its `v1.Pod`.
    pub raw: &'a [u8],
    /// The provider has it already: what it waits for is less urgent than for one that does not run yet.
    pub runs: bool,
}

impl Live {
    /// Nothing is read before a pod refers to it. `bell` rings when there is something for [`take`](Self::take).
    pub fn new(clients: &Clients, bell: &Arc<Notify>) -> Self {
        Self {
            ground: Ground {
                reach: Arc::new(Reach::new(clients)),
                board: Arc::new(Board::ringing(bell.clone())),
            },
            things: HashMap::new(),
            config_maps: Groups::default(),
            secrets: Groups::default(),
            bundles: None,
            services: None,
            keeper: None,
            specs: HashSet::new(),
            pods: HashMap::new(),
            last: 0,
        }
    }

    /// Resolves a pod from what is known, and follows from now on what it refers to.
    ///
    /// # Errors
    /// Why it can't be made now. If something is not known yet, [`take`](Self::take) names the pod when it is.
    pub fn resolve(&mut self, pod: Subject<'_>, context: &Context<'_>) -> Result<Resolved, Held> {
        let asking = Asking::new(self, pod);
        let outcome = super::resolve(pod.raw, &asking, context);
        let asked = asking.asked();
        self.follow(pod, asked);
        outcome
    }

    /// Whether something that the pod refers to is still being read. It costs little, so it is asked before resolving.
    pub fn is_reading(&self, uid: &str) -> bool {
        let awaits = |services: &Watched| services.awaited.contains(uid) && services.table.is_unknown();
        if self.services.as_ref().is_some_and(awaits) {
            return true;
        }
        let things = self.pods.get(uid).map(|things| &**things).unwrap_or_default();
        things
            .iter()
            .filter_map(|id| self.things.get(id))
            .any(|thing| match &thing.what {
                What::ConfigMap { known, .. } => matches!(known, Found::Unknown),
                What::Secret { known, .. } => matches!(known, Found::Unknown),
                What::Token { known, .. } => matches!(known, Found::Unknown),
                What::Certificate { known, .. } => matches!(known, Found::Unknown),
                What::Bundles(bundles) => bundles.is_unknown(),
            })
    }

    /// Whether the pod refers to anything that can change while it runs.
    pub fn refers(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|things| !things.is_empty())
    }

    /// A pod needs nothing any more. One that is not known is none the less.
    pub fn release(&mut self, uid: &str) {
        if let Some(services) = &mut self.services {
            services.awaited.remove(uid);
        }
        if let Some(things) = self.pods.remove(uid) {
            things.iter().for_each(|id| self.leave(*id, uid));
        }
    }

    /// Takes over what was learnt. `look` is called for each pod whose materials may be others now.
    pub fn take(&mut self, mut look: impl FnMut(&Uid)) {
        for (id, news) in self.ground.board.take() {
            if matches!(news, News::Denied) {
                self.scatter(id);
                continue;
            }
            if let Some(services) = &mut self.services
                && services.id == id
            {
                services.awaited.drain().for_each(|uid| look(&uid));
            }
            // One that nobody refers to any more may still have had something to say.
            if let Some(thing) = self.things.get_mut(&id) {
                thing.what.learn(news);
                thing.users.each(&mut look);
            }
        }
    }

    /// Begins what is new, leaves what the pod no longer asks for.
    fn follow(&mut self, pod: Subject<'_>, asked: Asked) {
        if asked.services {
            self.await_services(pod.uid);
        } else if let Some(services) = &mut self.services {
            services.awaited.remove(pod.uid);
        }
        let mut things = asked.known;
        for new in asked.new {
            things.push(self.begin(pod, new));
        }
        things.sort_unstable();
        things.dedup();
        let before = self.pods.get(pod.uid).map(|things| &**things).unwrap_or_default();
        if before == things {
            return;
        }
        let gone: Vec<ThingId> = before.iter().filter(|id| !things.contains(id)).copied().collect();
        for id in &things {
            if let Some(thing) = self.things.get_mut(id) {
                thing.users.add(pod.uid);
            }
        }
        gone.into_iter().for_each(|id| self.leave(id, pod.uid));
        self.pods.insert(pod.uid.clone(), things.into());
    }

    fn begin(&mut self, pod: Subject<'_>, new: New) -> ThingId {
        self.last += 1;
        let id = ThingId(self.last);
        let namespace = &*pod.identity.namespace;
        let one = || Users::One(pod.uid.clone());
        let many = || Users::Many(Box::default());
        let (what, users, task) = match new {
            New::ConfigMap(name) => {
                if let Some(id) = self.config_maps.find(namespace, &name) {
                    // Asked for twice in one pod.
                    return id;
                }
                let task = self.config_maps.begin(&self.ground, id, namespace, &name);
                let what = What::ConfigMap {
                    namespace: namespace.into(),
                    name,
                    known: Found::Unknown,
                    last: None,
                };
                (what, many(), Some(task))
            }
            New::Secret(name) => {
                if let Some(id) = self.secrets.find(namespace, &name) {
                    return id;
                }
                let task = self.secrets.begin(&self.ground, id, namespace, &name);
                let what = What::Secret {
                    namespace: namespace.into(),
                    name,
                    known: Found::Unknown,
                    last: None,
                };
                (what, many(), Some(task))
            }
            New::Token(spec) => {
                let spec = self.spec(spec);
                let wanted = Wanted {
                    pod: pod.identity.clone(),
                    spec: spec.clone(),
                    runs: pod.runs,
                };
                self.keeper().keep(id, wanted);
                let what = What::Token {
                    spec,
                    known: Found::Unknown,
                };
                (what, one(), None)
            }
            New::Certificate(node, spec) => {
                let spec = Arc::new(spec);
                let certifier = Certifier {
                    reach: self.ground.reach.clone(),
                    board: self.ground.board.clone(),
                    id,
                    pod: pod.identity.clone(),
                    node: node.clone(),
                    spec: spec.clone(),
                };
                let what = What::Certificate {
                    node,
                    spec,
                    known: Found::Unknown,
                };
                (what, one(), Some(task(certifier.run())))
            }
            New::Bundles => {
                if let Some(id) = self.bundles {
                    return id;
                }
                self.bundles = Some(id);
                let table = Arc::new(Bundles::default());
                let (reach, board) = (self.ground.reach.clone(), self.ground.board.clone());
                let following = table.clone().follow(reach, board, id);
                (What::Bundles(table), many(), Some(task(following)))
            }
        };
        self.things.insert(id, Box::new(Thing { what, users, task }));
        self.gather();
        id
    }

    /// The one instance of a spec.
    fn spec(&mut self, spec: TokenSpec) -> Arc<TokenSpec> {
        if let Some(known) = self.specs.get(&spec) {
            return known.clone();
        }
        if self.specs.len() == self.specs.capacity() {
            // Before it grows.
            self.specs.retain(|spec| Arc::strong_count(spec) > 1);
        }
        let spec = Arc::new(spec);
        self.specs.insert(spec.clone());
        spec
    }

    fn keeper(&mut self) -> &Desk {
        let (desk, _) = self.keeper.get_or_insert_with(|| {
            let desk = Arc::new(Desk::default());
            let Ground { reach, board } = &self.ground;
            let keeper = Keeper::new(reach.clone(), board.clone(), desk.clone());
            (desk, task(keeper.run()))
        });
        desk
    }

    /// Where objects with watches of their own are too many, watches the largest of their namespaces as a whole.
    fn gather(&mut self) {
        if self.config_maps.alone() + self.secrets.alone() <= ALONE {
            return;
        }
        let (maps, secrets) = (self.config_maps.crowd(), self.secrets.crowd());
        let are_maps = maps.map(|(_, count)| count) >= secrets.map(|(_, count)| count);
        let crowd = if are_maps { maps } else { secrets };
        let Some(namespace) = crowd.map(|(namespace, _)| namespace.to_owned()) else {
            return;
        };
        self.last += 1;
        let id = ThingId(self.last);
        let known = |id| self.things.get(&id).map(|thing| &thing.what);
        let gathered = if are_maps {
            self.config_maps.gather(&self.ground, id, &namespace, known)
        } else {
            self.secrets.gather(&self.ground, id, &namespace, known)
        };
        for id in gathered {
            if let Some(thing) = self.things.get_mut(&id) {
                thing.task = None;
            }
        }
    }

    /// The watch of a whole namespace may not be.
    fn scatter(&mut self, id: ThingId) {
        let followers = match self.config_maps.scatter(&self.ground, id) {
            Some(followers) => followers,
            None => self.secrets.scatter(&self.ground, id).unwrap_or_default(),
        };
        for (id, task) in followers {
            if let Some(thing) = self.things.get_mut(&id) {
                thing.task = Some(task);
            }
        }
    }

    fn await_services(&mut self, uid: &Uid) {
        let services = self.services.get_or_insert_with(|| {
            self.last += 1;
            let id = ThingId(self.last);
            let table = Arc::new(Services::default());
            let (reach, board) = (self.ground.reach.clone(), self.ground.board.clone());
            let following = table.clone().follow(reach, board, id);
            Watched {
                id,
                table,
                awaited: HashSet::new(),
                _task: task(following),
            }
        });
        services.awaited.insert(uid.clone());
    }

    /// A pod does not use a thing any more.
    fn leave(&mut self, id: ThingId, uid: &str) {
        let Some(thing) = self.things.get_mut(&id) else { return };
        if thing.users.remove(uid) {
            return;
        }
        let Some(thing) = self.things.remove(&id) else { return };
        match thing.what {
            What::ConfigMap { namespace, name, .. } => self.config_maps.end(&namespace, &name),
            What::Secret { namespace, name, .. } => self.secrets.end(&namespace, &name),
            What::Token { .. } => self.keeper().end(id),
            What::Certificate { .. } => {}
            What::Bundles(_) => self.bundles = None,
        }
    }
}

/// Runs a follower until its handle is dropped. A panic in it is a fault of outrigger; what it followed stays as it was.
fn task(follower: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if AssertUnwindSafe(follower).catch_unwind().await.is_err() {
            tracing::error!("a follower of an object panicked; this is a fault of outrigger, restart it to go on");
        }
    }))
}

impl What {
    fn learn(&mut self, news: News) {
        match (self, news) {
            (Self::ConfigMap { known, last, .. }, News::ConfigMap(found)) => take_over(known, last, found),
            (Self::Secret { known, last, .. }, News::Secret(found)) => take_over(known, last, found),
            (Self::Token { known, .. }, News::Token(found)) => *known = found,
            (Self::Certificate { known, .. }, News::Certificate(found)) => *known = found,
            // Tables are looked into where they are.
            _ => {}
        }
    }
}

fn take_over<T>(known: &mut Found<Arc<T>>, last: &mut Option<Arc<T>>, found: Found<Arc<T>>) {
    if let Found::Here(content) = &found {
        *last = Some(content.clone());
    }
    *known = found;
}

impl Users {
    fn add(&mut self, uid: &Uid) {
        if let Self::Many(users) = self {
            users.insert(uid.clone());
        }
    }

    /// Whether somebody is left.
    fn remove(&mut self, uid: &str) -> bool {
        match self {
            Self::One(user) => **user != *uid,
            Self::Many(users) => {
                users.remove(uid);
                !users.is_empty()
            }
        }
    }

    fn each(&self, look: &mut impl FnMut(&Uid)) {
        match self {
            Self::One(user) => look(user),
            Self::Many(users) => users.iter().for_each(look),
        }
    }
}
