//! Calls that take their time, or fail: what stands between the host and either back end.

use crate::{
    behaviour::{Behaviour, CallBehaviour},
    dice,
    engine::spec::Shared,
};
use outrigger_plugin::{PodIdentity, ProviderError, Result};
use std::{
    collections::{HashMap, HashSet},
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The calls that can fare in a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Run a pod.
    Create,
    /// Change a pod.
    Update,
    /// Stop a pod.
    Stop,
    /// Remove what is left of a pod.
    Remove,
    /// A pod's state.
    Get,
    /// All pods.
    List,
    /// Whether the backend works.
    Ping,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Get => "get",
            Self::List => "list",
            Self::Ping => "ping",
        }
    }
}

/// In the place of a UID.
const OF_NO_POD: &str = "";

/// Decides how calls fare.
pub struct Faults {
    seed: u64,
    pods: Shared,
    list: CallBehaviour,
    ping: CallBehaviour,
    /// Of pods with calls of their own.
    own: Mutex<HashMap<String, Shared>>,
    /// How often calls were made that may fail, by UID, then by call.
    made: Mutex<HashMap<String, [u32; 7]>>,
}

impl Faults {
    /// Calls fare as the config says.
    pub fn new(seed: u64, pods: Shared, list: CallBehaviour, ping: CallBehaviour) -> Self {
        Self {
            seed,
            pods,
            list,
            ping,
            own: Mutex::default(),
            made: Mutex::default(),
        }
    }

    /// A pod has calls of its own, perhaps.
    pub fn remember(&self, uid: &str, behaviour: &Shared) {
        if Arc::ptr_eq(&behaviour.0, &self.pods.0) || behaviour.calls() == self.pods.calls() {
            lock(&self.own).remove(uid);
        } else {
            lock(&self.own).insert(uid.to_owned(), behaviour.clone());
        }
    }

    /// Pods that were there already have calls of their own.
    pub fn remember_all(&self, behaviours: impl IntoIterator<Item = (String, Behaviour)>) {
        for (uid, behaviour) in behaviours {
            self.remember(&uid, &Shared(Arc::new(behaviour)));
        }
    }

    /// The pods of which something is kept.
    pub fn uids(&self) -> HashSet<String> {
        let mut uids: HashSet<String> = lock(&self.own).keys().cloned().collect();
        uids.extend(lock(&self.made).keys().filter(|uid| *uid != OF_NO_POD).cloned());
        uids
    }

    /// A pod is gone for good.
    pub fn forget(&self, uid: &str) {
        lock(&self.own).remove(uid);
        lock(&self.made).remove(uid);
    }

    /// Makes a call, in the way that is meant for it.
    pub async fn pass<T>(
        &self,
        op: Op,
        pod: Option<&PodIdentity>,
        effect: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let behaviour = self.behaviour(op, pod);
        let Some(latency) = behaviour.latency.finite() else {
            return pending().await;
        };
        let half = latency / 2;
        if !half.is_zero() {
            tokio::time::sleep(half).await;
        }
        let outcome = if self.fails(op, pod, &behaviour) {
            let message = format!("simulated failure of {}", op.name());
            Err(ProviderError::new(behaviour.code(), message))
        } else {
            effect.await
        };
        if !half.is_zero() {
            tokio::time::sleep(half).await;
        }
        outcome
    }

    fn behaviour(&self, op: Op, pod: Option<&PodIdentity>) -> CallBehaviour {
        let own = pod.and_then(|pod| lock(&self.own).get(&pod.uid).cloned());
        let of_pod = own.as_ref().unwrap_or(&self.pods);
        match op {
            Op::Create => of_pod.create,
            Op::Update => of_pod.update,
            Op::Stop => of_pod.stop,
            Op::Remove => of_pod.remove,
            Op::Get => of_pod.get,
            Op::List => self.list,
            Op::Ping => self.ping,
        }
    }

    fn fails(&self, op: Op, pod: Option<&PodIdentity>, behaviour: &CallBehaviour) -> bool {
        if behaviour.failures == 0 && behaviour.failure_rate == 0.0 {
            return false;
        }
        let (uid, name) = pod.map_or((OF_NO_POD, String::new()), |pod| {
            (&*pod.uid, format!("{}/{}", pod.namespace, pod.name))
        });
        let mut made = lock(&self.made);
        let counter = &mut made.entry(uid.to_owned()).or_default()[op as usize];
        let nth = *counter;
        *counter = nth.saturating_add(1);
        drop(made);
        let chance = dice::fraction(dice::hash(self.seed, [op.name(), &*name, &*nth.to_string()]));
        nth < behaviour.failures || chance < behaviour.failure_rate
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
