//! The engine in real time: requests from many threads, one timer for all pods, stops that wait.

use crate::{
    behaviour::Behaviour,
    engine::{Change, Engine, Made, pod::Pod},
    protocol::{PodList, Reply, Request},
    span::between,
};
use outrigger_plugin::{ErrorCode, ProviderError, Result, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::Notify;

/// How many pods move before the lock is given up once.
const MOVED_AT_ONCE: usize = 256;

/// Takes an answer. Called under the simulation's lock, so that answers and changes are seen in their order; must not
/// block.
pub type Answer = Box<dyn FnOnce(Result<Reply>) + Send>;

/// Sees what happens, under the simulation's lock; must not block.
pub trait Observer: Send + Sync + 'static {
    /// Something has happened to a pod that nobody asked for.
    fn changed(&self, change: &Change);

    /// There is something else than before; the answer, or the change, follows.
    fn acted(&self, act: Act, uid: &str, pod: Option<&Pod>) {
        let _ = (act, uid, pod);
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Made a pod.
    Create,
    /// Asked for a pod that is there.
    Repeat,
    /// Changed a pod.
    Update,
    /// Begun to stop a pod, or hurried.
    Stop,
    /// Removed a pod.
    Remove,
    /// Given a pod other addresses, by time alone.
    Readdress,
}

/// The engine, its clock and those who wait for it.
pub struct Simulation<O> {
    state: Mutex<State>,
    wake: Arc<Notify>,
    observer: O,
}

struct State {
    engine: Engine,
    /// Stops that wait for the end, by UID.
    stops: HashMap<String, Vec<Answer>>,
    /// When the timer fires.
    armed: Option<Timestamp>,
}

impl<O: Observer> Simulation<O> {
    /// Runs an engine. Needs a tokio runtime; ends with the last reference.
    pub fn start(engine: Engine, observer: O) -> Arc<Self> {
        let simulation = Arc::new(Self {
            state: Mutex::new(State {
                engine,
                stops: HashMap::new(),
                armed: None,
            }),
            wake: Arc::default(),
            observer,
        });
        tokio::spawn(drive(Arc::downgrade(&simulation), simulation.wake.clone()));
        simulation
    }

    /// Who sees what happens.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Looks at the engine as it is.
    pub fn look<T>(&self, at: impl FnOnce(&Engine) -> T) -> T {
        at(&self.state().engine)
    }

    /// Does what is asked.
    pub fn handle(&self, request: Request, answer: Answer) {
        let now = Timestamp::now();
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(pod) = request.identity()
            && let Some(change) = state.engine.advance_one(&pod.uid, now)
        {
            self.tell(state, &change);
        }
        self.perform(state, request, answer, now);
        if let Some(next) = state.engine.next()
            && state.armed.is_none_or(|armed| next < armed)
        {
            self.wake.notify_one();
        }
    }

    fn perform(&self, state: &mut State, request: Request, answer: Answer, now: Timestamp) {
        let engine = &mut state.engine;
        match request {
            Request::Create { pod } => {
                let uid = pod.identity.uid.clone();
                answer(engine.create(*pod, now).map(|(report, made)| {
                    let act = if made == Made::New { Act::Create } else { Act::Repeat };
                    self.observer.acted(act, &uid, engine.pod(&uid));
                    Reply::Report(report)
                }));
            }
            Request::Update { pod } => {
                let uid = pod.identity.uid.clone();
                answer(engine.update(*pod, now).map(|outcome| {
                    self.observer.acted(Act::Update, &uid, engine.pod(&uid));
                    Reply::Updated(outcome)
                }));
            }
            Request::Stop { identity, grace } => match engine.stop(&identity, Duration::from_millis(grace), now) {
                Err(error) => answer(Err(error)),
                Ok(report) => {
                    let uid = identity.uid;
                    self.observer.acted(Act::Stop, &uid, engine.pod(&uid));
                    let waiting = state.stops.entry(uid);
                    if engine.has_stopped(waiting.key()) {
                        if let std::collections::hash_map::Entry::Occupied(earlier) = waiting {
                            for earlier in earlier.remove() {
                                earlier(Ok(Reply::Report(report.clone())));
                            }
                        }
                        answer(Ok(Reply::Report(report)));
                    } else {
                        waiting.or_default().push(answer);
                    }
                }
            },
            Request::Remove { identity } => {
                if engine.remove(&identity.uid) {
                    self.observer.acted(Act::Remove, &identity.uid, None);
                }
                for stop in state.stops.remove(&identity.uid).into_iter().flatten() {
                    stop(Err(ProviderError::not_found("the pod was removed")));
                }
                answer(Ok(Reply::Done));
            }
            Request::Get { identity } => answer(engine.get(&identity).map(Reply::Report)),
            Request::List => answer(Ok(Reply::Pods(list(engine)))),
            Request::Log {
                identity,
                container,
                previous,
            } => answer(engine.log_source(&identity, &container, previous).map(Reply::Log)),
            Request::Usage { node } => answer(Ok(Reply::Usage(engine.usage(&node, now)))),
            Request::Doors { identity } => answer(engine.doors(&identity).map(Reply::Doors)),
            Request::Images { node } => answer(Ok(Reply::Images(engine.images(&node)))),
            Request::Ping => answer(Ok(Reply::Done)),
            Request::Counts => answer(Err(ProviderError::unsupported("only the external back end counts"))),
        }
    }

    /// Lets happen what is due; when to come again.
    fn advance(&self) -> Option<Timestamp> {
        let now = Timestamp::now();
        let mut guard = self.state();
        let state = &mut *guard;
        for _ in 0..MOVED_AT_ONCE {
            // One by one: what a pod has given up, and the next has taken, is told in that order.
            let Some(change) = state.engine.advance(now, 1).pop() else {
                break;
            };
            self.tell(state, &change);
        }
        state.armed = state.engine.next();
        state.armed
    }

    fn tell(&self, state: &mut State, change: &Change) {
        for uid in state.engine.take_readdressed() {
            self.observer.acted(Act::Readdress, &uid, state.engine.pod(&uid));
        }
        self.observer.changed(change);
        let uid = &change.identity().uid;
        let outcome = match change {
            Change::Report(report) if state.engine.has_stopped(uid) => Ok(Reply::Report(report.clone())),
            Change::Report(_) => return,
            Change::Gone { .. } => Err(ProviderError::new(ErrorCode::NotFound, "the pod has vanished")),
        };
        for stop in state.stops.remove(uid).into_iter().flatten() {
            stop(outcome.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(engine: &Engine) -> PodList {
    let own = engine.pods().filter(|pod| pod.template.behaviour.has_own_calls());
    PodList {
        behaviours: own
            .map(|pod| (pod.identity.uid.clone(), Behaviour::clone(&pod.template.behaviour)))
            .collect(),
        reports: engine.pods().map(crate::engine::report::report).collect(),
    }
}

impl<O> Drop for Simulation<O> {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

async fn drive<O: Observer>(simulation: Weak<Simulation<O>>, wake: Arc<Notify>) {
    loop {
        let next = match simulation.upgrade() {
            Some(simulation) => simulation.advance(),
            None => return,
        };
        match next {
            None => wake.notified().await,
            Some(at) => {
                let _ = tokio::time::timeout(between(Timestamp::now(), at), wake.notified()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        annotations::Defaults,
        engine::spec::PodSpec,
        manifest::{self, Surroundings},
    };
    use outrigger_plugin::PodRequest;
    use serde_json::json;

    /// Writes down what it sees.
    #[derive(Default)]
    struct Scribe(Mutex<Vec<String>>);

    impl Observer for Scribe {
        fn changed(&self, change: &Change) {
            let what = match change {
                Change::Report(_) => "changed",
                Change::Gone { .. } => "gone",
            };
            self.0.lock().unwrap().push(format!("{} {what}", change.identity().uid));
        }

        fn acted(&self, act: Act, uid: &str, pod: Option<&Pod>) {
            let addresses = &pod.unwrap().addresses;
            self.0.lock().unwrap().push(format!("{uid} {act:?} {addresses:?}"));
        }
    }

    fn spec(uid: &str, annotation: &str) -> PodSpec {
        let around = Surroundings {
            seed: 0,
            defaults: Defaults::new(Behaviour::default()),
            ranges: vec!["10.9.0.0/30".parse().unwrap()],
        };
        let identity = json!({ "cluster": "", "node": "", "namespace": "ns", "name": uid, "uid": uid });
        let annotations = json!({ format!("mock.outrigger.dev/{annotation}"): "1s" });
        let pod = json!({
            "metadata": { "annotations": annotations },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
        });
        let request: PodRequest = serde_json::from_value(json!({ "identity": identity, "pod": pod })).unwrap();
        manifest::read(&request, &around).unwrap()
    }

    /// A journal that ends anywhere in between has no address twice.
    #[tokio::test]
    async fn an_address_is_given_up_before_another_pod_is_told_to_have_it() {
        let mut engine = Engine::default();
        // Both are due at once, and there are two addresses in all.
        let (gone, _) = engine.create(spec("v", "vanishAfter"), Timestamp(0)).unwrap();
        engine.create(spec("r", "ipChangeAfter"), Timestamp(1)).unwrap();
        let freed = engine.pod(&gone.identity.uid).unwrap().addresses.clone();
        let simulation = Simulation::start(engine, Scribe::default());
        simulation.advance();
        let seen = simulation.observer().0.lock().unwrap().clone();
        let readdress = format!("r Readdress {freed:?}");
        assert_eq!(seen, ["v gone", &readdress, "r changed"]);
    }
}
